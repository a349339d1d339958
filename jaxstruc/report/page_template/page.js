// The page: it opens curves, draws their figures when they come into view, and switches between light and dark.

const pageFacts = JSON.parse(document.getElementById("page-facts").textContent);
const STATUS_SYMBOLS = { solved: "✓", weak: "!", failed: "×" };
const curvesTable = document.getElementById("curves");
const viewer = createViewer(document.getElementById("structure-canvas"));
let curve = null;
let curveOfViewer = null;

const figures = {
  "fit-figure": { has: () => curve.fit, draw: (figure) => drawFit(figure.querySelector(".plot"), curve) },
  "structure-figure": { has: () => curve.structures.length, draw: showStructure },
  "prediction-figure": { has: () => curve.prediction, draw: (figure) => drawPrediction(figure.querySelector(".plot"), curve) },
  "sizes-figure": { has: () => curve.sizes, draw: (figure) => drawSizes(figure.querySelector(".plot"), curve, document.getElementById("weighting-choice").value) },
  "candidates-figure": { has: () => curve.candidates, draw: (figure) => drawCandidates(figure.querySelector(".plot"), curve) },
  "types-figure": { has: () => curve.types, draw: (figure) => drawTypes(figure, curve.types) },
};

// Figures that have come into view are drawn at once, the others when they do.
const pendingFigures = new Set();
const visibleFigures = new Set();
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) visibleFigures.add(entry.target);
    else visibleFigures.delete(entry.target);
  }
  drawPending();
}, { rootMargin: "300px" });

function drawPending() {
  for (const figure of [...pendingFigures]) {
    if (visibleFigures.has(figure)) {
      pendingFigures.delete(figure);
      figures[figure.id].draw(figure);
    }
  }
}

function openCurve(number) {
  if (number < pageFacts.first || number >= pageFacts.end) {
    location.href = `${pageFacts.page_names[Math.floor(number / pageFacts.curves_per_page)]}#${number + 1}`;
    return;
  }
  curve = JSON.parse(document.getElementById(`curve-${number}`).textContent);
  for (const row of curvesTable.tBodies[0].rows) {
    const isSelected = Number(row.dataset.curve) === number;
    row.classList.toggle("selected", isSelected);
    if (isSelected) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
  showAnswer();
  showValues();
  for (const [name, figure] of Object.entries(figures)) {
    const node = document.getElementById(name);
    node.hidden = !figure.has();
    if (node.hidden) pendingFigures.delete(node);
    else pendingFigures.add(node);
  }
  drawPending();
}

function badge(status) {
  const symbol = element("span", "", STATUS_SYMBOLS[status] ?? "");
  symbol.setAttribute("aria-hidden", "true");
  const node = element("span", `badge ${status}`);
  node.append(symbol, ` ${status}`);
  return node;
}

function showAnswer() {
  const title = element("h2", "", curve.file + " ");
  title.append(badge(curve.status));
  const numbers = element("dl", "numbers");
  numbers.append(...curve.facts.map(([name, text]) => {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", text));
    return pair;
  }));
  const message = element("p", curve.message ? "message" : "message none");
  message.append(element("strong", "", curve.status === "failed" ? "Reason:" : "Doubts:"), " " + (curve.message || "No doubts were noted."));
  const remarks = curve.remark ? [element("p", "remark", curve.remark)] : [];
  document.getElementById("answer").replaceChildren(title, element("p", "answer", curve.answer), message, ...remarks, numbers);
}

function fillTable(section, rows) {
  section.hidden = !rows.length;
  section.querySelector("tbody").replaceChildren(...rows.map((cells) => {
    const row = element("tr");
    row.append(...cells.map((cell) => element("td", "", cell)));
    return row;
  }));
}

function showValues() {
  fillTable(document.getElementById("values-section"), curve.values);
  fillTable(document.getElementById("settings-section"), curve.settings);
  document.querySelector(".checksum").textContent = curve.sha256 ? `SHA-256 of the file: ${curve.sha256}` : "";
  document.getElementById("methods-section").hidden = !curve.methods;
  document.getElementById("methods-text").textContent = curve.methods;
  document.getElementById("bibtex").textContent = pageFacts.bibtex;
  document.getElementById("copy-report").textContent = "";
}

function setOptions(select, names, texts) {
  select.replaceChildren(...names.map((name, index) => {
    const option = element("option", "", texts[index]);
    option.value = name;
    return option;
  }));
}

// The chosen structure and its colours stay if only the theme changes.
function showStructure() {
  if (curveOfViewer === curve) {
    viewer.redraw();
    return;
  }
  curveOfViewer = curve;
  const texts = curve.structures.map((structure) => `${structure.rank}. ${structure.label}, Rw ${structure.rw}${structure.tie ? ", in the 90 % set" : ""}`);
  setOptions(document.getElementById("structure-choice"), curve.structures.map((_, index) => String(index)), texts);
  chooseStructure(0);
}

function chooseStructure(index) {
  const structure = curve.structures[index];
  const colourings = Object.keys(structure.colours);
  const choice = document.getElementById("colour-choice");
  const wanted = colourings.includes(choice.value) ? choice.value : colourings[0];
  setOptions(choice, colourings, colourings.map((name) => ({ layers: "layer or place", occupancy: "occupancy" })[name]));
  choice.value = viewer.view.colouring = wanted;
  viewer.show(structure);
  document.getElementById("structure-canvas").setAttribute("aria-label", `Structure: ${structure.label}. The arrow keys turn it.`);
  showLegend();
}

function showLegend() {
  const legend = document.getElementById("structure-legend"), colours = viewer.view.structure.colours;
  if (viewer.view.colouring === "occupancy") {
    const scale = element("i", "scale");
    scale.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(occupancyColour).join(", ")})`;
    legend.replaceChildren("occupancy 0", scale, "1");
    return;
  }
  legend.replaceChildren(...colours.layers.names.map((name, code) => {
    const label = element("label"), box = element("input"), dot = element("i");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) viewer.view.hidden.delete(name);
      else viewer.view.hidden.add(name);
      viewer.redraw();
    });
    dot.style.background = LAYER_COLOURS[name] ?? LAYER_COLOURS.unknown;
    label.append(box, dot, `${name} (${[...colours.layers.codes].filter((digit) => Number(digit) === code).length})`);
    return label;
  }));
}

function figureColumns(figureName) {
  if (figureName === "fit-figure") {
    const isIntensity = curve.fit.kind === "pdf" && curve.fit.axes[0].startsWith("Q");
    const names = isIntensity ? { x: "Q", data: "QI_obs", fit: "QI_calc", ensemble: "QI_distribution", background: "QI_background" } : curve.fit.kind === "pdf" ? { x: "r", data: "G_obs", fit: "G_calc", ensemble: "G_distribution", background: "G_background" } : { x: "Q", data: "I_obs", sigma: "sigma", fit: "I_calc", residual: "residual", background: "I_background" };
    return Object.fromEntries(Object.entries(names).filter(([key]) => curve.fit[key]).map(([key, name]) => [name, curve.fit[key]]));
  }
  if (figureName === "prediction-figure") {
    const { x, data, single, distribution, axes } = curve.prediction;
    if (axes[0].startsWith("Q")) return { Q: x, QI_obs: data, QI_single: single, QI_distribution: distribution };
    return { r: x, G_obs: data, G_single: single, G_distribution: distribution };
  }
  if (figureName === "sizes-figure") {
    const columns = { [curve.sizes.axis.split(" ")[0]]: curve.sizes.x };
    for (const weighting of ["volume", "number"]) {
      const { line, low, high, parts } = curve.sizes[weighting];
      Object.assign(columns, { [weighting]: line, [`${weighting}_low`]: low, [`${weighting}_high`]: high });
      curve.sizes.types.forEach((name, index) => { columns[`${weighting}_${name}`] = parts[index]; });
    }
    return columns;
  }
  if (figureName === "types-figure") return Object.fromEntries(["type", "value", "low", "high"].map((name, index) => [name, curve.types.rows.map((row) => row[index])]));
  const { rank, size, rw, weight, in90, family, families, labels } = curve.candidates;
  return { rank, diameter: size, rw, weight, in_90: in90, family: family.map((index) => families[index]), description: rank.map((_, index) => labels[index] ?? "") };
}

function saveFigure(figure, format) {
  const name = `${curve.stem}-${figure.id.replace("-figure", "")}`;
  if (figure.id === "structure-figure") {
    saveStructure(format);
  } else if (format === "csv") {
    saveText(`${name}.csv`, csvOfColumns(figureColumns(figure.id)), "text/csv");
  } else {
    savePlot(figure.querySelector(".plot"), name, format);
  }
}

function saveStructure(format) {
  const structure = viewer.view.structure, name = `${curve.stem}-rank${structure.rank}`;
  if (format === "xyz") saveText(`${name}.xyz`, xyzText(structure), "chemical/x-xyz");
  else if (format === "cif") saveText(`${name}.cif`, cifText(structure, name), "chemical/x-cif");
  else if (format === "svg") saveText(`${name}.svg`, viewer.svg(), "image/svg+xml");
  else document.getElementById("structure-canvas").toBlob((blob) => saveBlob(`${name}.png`, blob));
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function redrawAll() {
  document.getElementById("theme-switch").textContent = isDark() ? "Light" : "Dark";
  for (const node of document.querySelectorAll("#figures > figure")) if (!node.hidden) pendingFigures.add(node);
  drawPending();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  redrawAll();
}

// A printed page is light, and all figures of the open curve are drawn.
function setUpPrinting() {
  let theme;
  addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    for (const figure of document.querySelectorAll("#figures > figure")) visibleFigures.add(figure);
    setTheme("light");
  });
  addEventListener("afterprint", () => setTheme(theme));
  document.getElementById("print-page").addEventListener("click", () => print());
}

function setUpControls() {
  document.getElementById("theme-switch").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  document.getElementById("structure-choice").addEventListener("change", (event) => chooseStructure(Number(event.target.value)));
  document.getElementById("colour-choice").addEventListener("change", (event) => {
    viewer.view.colouring = event.target.value;
    viewer.view.hidden.clear();
    showLegend();
    viewer.redraw();
  });
  document.getElementById("atom-size").addEventListener("input", (event) => {
    viewer.view.atomSize = Number(event.target.value);
    viewer.redraw();
  });
  document.getElementById("weighting-choice").addEventListener("change", (event) => drawSizes(event.target.closest("figure").querySelector(".plot"), curve, event.target.value));
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => saveFigure(button.closest("figure"), button.dataset.save));
  }
  const report = document.getElementById("copy-report");
  document.getElementById("copy-methods").addEventListener("click", () => copyText(curve.methods, report));
  document.getElementById("copy-bibtex").addEventListener("click", () => copyText(pageFacts.bibtex, report));
  document.getElementById("save-bibtex").addEventListener("click", () => saveText("references.bib", pageFacts.bibtex, "text/plain"));
  addEventListener("resize", () => viewer.redraw());
}

// The number after # in the address names a curve, counted from 1.
function curveOfAddress() {
  const number = Number(location.hash.slice(1)) - 1;
  return Number.isInteger(number) && number >= pageFacts.first && number < pageFacts.end ? number : pageFacts.first;
}

setUpTable(curvesTable, openCurve);
setUpControls();
setUpPrinting();
document.getElementById("theme-switch").textContent = isDark() ? "Light" : "Dark";
for (const plot of document.querySelectorAll(".plot")) addZoomKeys(plot);
addEventListener("hashchange", () => openCurve(curveOfAddress()));
// Two frames pass before the figures are drawn, so that the table appears first.
requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => {
  openCurve(curveOfAddress());
  for (const name of Object.keys(figures)) observer.observe(document.getElementById(name));
})));
