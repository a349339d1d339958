// The viewer of structures: lit spheres on a canvas, drawn from back to front. It needs no WebGL.

const LAYER_COLOURS = {
  cubic: "#0072b2", hexagonal: "#e69f00", outermost: "#8fa3b3", "five-fold": "#d55e00", inner: "#56b4e9", surface: "#b9c4cc", unknown: "#56b4e9",
};
const OCCUPANCY_STOPS = [[0.0, [230, 159, 0]], [0.5, [190, 196, 200]], [1.0, [0, 114, 178]]];
const DEPTH_STEPS = 6;

function createViewer(canvas) {
  const view = { structure: null, rotation: null, zoom: 1, atomSize: 0.9, colouring: "layers", hidden: new Set(), sprites: new Map() };
  resetView(view);
  addPointer(canvas, view, () => drawStructure(canvas, view));
  addViewerKeys(canvas, view, () => drawStructure(canvas, view));
  return {
    view,
    show(structure) {
      view.structure = structure;
      view.atoms = atomPositions(structure);
      view.radius = nearestDistance(view.atoms) / 2;
      view.extent = Math.max(...view.atoms.map((atom) => Math.hypot(...atom)), 1) + view.radius;
      view.hidden.clear();
      drawStructure(canvas, view);
    },
    redraw() {
      view.sprites.clear();
      drawStructure(canvas, view);
    },
    svg: () => structureSvg(canvas, view),
  };
}

function resetView(view) {
  view.zoom = 1;
  view.rotation = multiply(rotationAbout(0, -0.35), rotationAbout(1, 0.5));
}

function rotationAbout(axisNumber, angle) {
  const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  return axisNumber === 0
    ? [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]
    : [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]];
}

function multiply(left, right) {
  return left.map((row) => right[0].map((_, column) => row.reduce((sum, value, index) => sum + value * right[index][column], 0)));
}

function turn(view, horizontal, vertical) {
  view.rotation = multiply(multiply(rotationAbout(1, horizontal), rotationAbout(0, vertical)), view.rotation);
}

// Smallest distance between two atoms, measured from a few of them.
function nearestDistance(atoms) {
  let nearest = Infinity;
  for (const atom of atoms.slice(0, 30)) {
    for (const other of atoms) {
      const distance = Math.hypot(atom[0] - other[0], atom[1] - other[1], atom[2] - other[2]);
      if (distance > 0.1 && distance < nearest) nearest = distance;
    }
  }
  return Number.isFinite(nearest) ? nearest : 2.5;
}

function addPointer(canvas, view, draw) {
  let last = null;
  canvas.addEventListener("pointerdown", (event) => {
    last = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    turn(view, (event.clientX - last[0]) * 0.01, (event.clientY - last[1]) * 0.01);
    last = [event.clientX, event.clientY];
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
}

function addViewerKeys(canvas, view, draw) {
  const turns = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
  canvas.addEventListener("keydown", (event) => {
    if (turns[event.key]) turn(view, ...turns[event.key]);
    else if (event.key === "+" || event.key === "=") view.zoom *= 1.15;
    else if (event.key === "-") view.zoom /= 1.15;
    else if (event.key === "0") resetView(view);
    else return;
    event.preventDefault();
    draw();
  });
}

// Name of the class of each atom in the legend: its layer, or "" for a scale of occupancies.
function atomClass(view, index) {
  const layers = view.structure.colours.layers;
  return view.colouring === "layers" ? layers.names[Number(layers.codes[index])] : "";
}

function atomColour(view, index) {
  if (view.colouring === "layers") return LAYER_COLOURS[atomClass(view, index)] ?? LAYER_COLOURS.unknown;
  return occupancyColour(view.structure.colours.occupancy[index] / 100);
}

function occupancyColour(value) {
  const upper = Math.max(1, OCCUPANCY_STOPS.findIndex(([stop]) => stop >= value));
  const [[start, low], [end, high]] = [OCCUPANCY_STOPS[upper - 1], OCCUPANCY_STOPS[upper]];
  const share = Math.round(20 * (value - start) / (end - start)) / 20;
  return toHex(low.map((level, index) => level + share * (high[index] - level)));
}

function toRgb(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

function toHex(levels) {
  return "#" + levels.map((level) => Math.round(level).toString(16).padStart(2, "0")).join("");
}

function mix(hex, otherHex, share) {
  const other = toRgb(otherHex);
  return toHex(toRgb(hex).map((level, index) => level + share * (other[index] - level)));
}

// Visible atoms from back to front: place and radius on a drawing of this size, colour and step of depth.
function projectAtoms(view, width, height) {
  const scale = view.zoom * Math.min(width, height) / (2.08 * view.extent);
  const depth = (z) => Math.min(DEPTH_STEPS - 1, Math.max(0, Math.floor(DEPTH_STEPS * (0.5 - z / (2 * view.extent)))));
  const projected = [];
  view.atoms.forEach((atom, index) => {
    if (view.hidden.has(atomClass(view, index))) return;
    const [x, y, z] = view.rotation.map((row) => row[0] * atom[0] + row[1] * atom[1] + row[2] * atom[2]);
    projected.push({
      x: width / 2 + scale * x, y: height / 2 - scale * y, z, radius: scale * view.radius * view.atomSize, colour: atomColour(view, index), depth: depth(z),
    });
  });
  return projected.sort((first, second) => first.z - second.z);
}

// Colours of a sphere from its light spot to its edge. Distant spheres fade into the background.
function sphereColours(atomHex, depth) {
  const fade = 0.55 * depth / (DEPTH_STEPS - 1);
  return [mix(atomHex, "#ffffff", 0.65), atomHex, mix(atomHex, "#000000", 0.55)].map((hex) => mix(hex, colour("background"), fade));
}

function sphereSprite(view, atomHex, depth) {
  const key = atomHex + depth;
  if (!view.sprites.has(key)) {
    const sprite = document.createElement("canvas");
    sprite.width = sprite.height = 96;
    const context = sprite.getContext("2d");
    const gradient = context.createRadialGradient(34, 32, 3, 48, 48, 47);
    const [light, middle, dark] = sphereColours(atomHex, depth);
    gradient.addColorStop(0, light);
    gradient.addColorStop(0.5, middle);
    gradient.addColorStop(1, dark);
    context.fillStyle = gradient;
    context.beginPath();
    context.arc(48, 48, 47, 0, 2 * Math.PI);
    context.fill();
    view.sprites.set(key, sprite);
  }
  return view.sprites.get(key);
}

function drawStructure(canvas, view) {
  if (!view.structure) return;
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  for (const atom of projectAtoms(view, width, height)) {
    const sprite = sphereSprite(view, atom.colour, atom.depth);
    context.drawImage(sprite, atom.x - atom.radius, atom.y - atom.radius, 2 * atom.radius, 2 * atom.radius);
  }
}

function structureSvg(canvas, view) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const gradients = new Map();
  const circles = projectAtoms(view, width, height).map((atom) => {
    const key = `sphere-${atom.colour.slice(1)}-${atom.depth}`;
    gradients.set(key, sphereColours(atom.colour, atom.depth));
    return `<circle cx="${atom.x.toFixed(2)}" cy="${atom.y.toFixed(2)}" r="${atom.radius.toFixed(2)}" fill="url(#${key})"/>`;
  });
  const definitions = [...gradients].map(([key, [light, middle, dark]]) =>
    `<radialGradient id="${key}" cx="0.5" cy="0.5" r="0.5" fx="0.36" fy="0.33"><stop offset="0" stop-color="${light}"/>`
    + `<stop offset="0.5" stop-color="${middle}"/><stop offset="1" stop-color="${dark}"/></radialGradient>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}"><defs>${definitions.join("")}</defs>${circles.join("")}</svg>\n`;
}
