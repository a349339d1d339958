// Files that a reader saves: tables as csv, structures as xyz and cif, figures as png and svg.

function saveBlob(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.()+ -]/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function saveText(name, text, type) {
  saveBlob(name, new Blob([text], { type: type + ";charset=utf-8" }));
}

function csvCell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function csvText(names, rows) {
  return [names, ...rows].map((row) => row.map(csvCell).join(",")).join("\n") + "\n";
}

// Turn columns by name into the text of a table.
function csvOfColumns(columns) {
  const names = Object.keys(columns);
  const rows = columns[names[0]].map((_, index) => names.map((name) => columns[name][index]));
  return csvText(names, rows);
}

// Positions of the atoms of a structure in Å, one triple an atom.
function atomPositions(structure) {
  const positions = [];
  for (let index = 0; index < structure.positions.length; index += 3) {
    positions.push(structure.positions.slice(index, index + 3).map((step) => step * pageFacts.position_step));
  }
  return positions;
}

function xyzText(structure) {
  const positions = atomPositions(structure);
  const occupancy = structure.colours.occupancy;
  const properties = "species:S:1:pos:R:3" + (occupancy ? ":occupancy:R:1" : "");
  const label = structure.label.replaceAll('"', "'");
  const lines = positions.map((position, index) => {
    const words = [structure.symbols[0], ...position.map((value) => value.toFixed(3))];
    return (occupancy ? [...words, occupancy[index] / 100] : words).join(" ");
  });
  const comment = `Properties=${properties} description="${label}" rw=${structure.rw} weight=${structure.weight} pbc="F F F"`;
  return [positions.length, comment, ...lines].join("\n") + "\n";
}

// A cif needs a cell: a cube around the particle with 10 Å of space on each side.
function cifText(structure, name) {
  const positions = atomPositions(structure);
  const extent = 2 * Math.max(...positions.flat().map(Math.abs)) + 20;
  const cell = ["a", "b", "c"].map((axis) => `_cell_length_${axis} ${extent.toFixed(3)}`);
  const angles = ["alpha", "beta", "gamma"].map((angle) => `_cell_angle_${angle} 90`);
  const symbol = structure.symbols[0];
  const atoms = positions.map((position, index) => {
    const fractions = position.map((value) => (value / extent + 0.5).toFixed(6)).join(" ");
    return `${symbol}${index + 1} ${symbol} ${fractions} ${structure.colours.occupancy ? structure.colours.occupancy[index] / 100 : 1}`;
  });
  const columns = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"].map((column) => `_atom_site_${column}`);
  const head = [`data_${name.replace(/[^\w-]/g, "_")}`, `# ${structure.label.replace(/\s+/g, " ")}`, ...cell, ...angles];
  const group = ["_symmetry_space_group_name_H-M 'P 1'", "_symmetry_Int_Tables_number 1"];
  return [...head, ...group, "loop_", ...columns, ...atoms].join("\n") + "\n";
}

async function copyText(text, report) {
  try {
    await navigator.clipboard.writeText(text);
    report.textContent = "The text is copied.";
  } catch {
    report.textContent = "The browser does not allow copying. Select the text and copy it by hand.";
  }
}
