// The page of a series: a map of the curves with a slider, values with bands, types and change points.

const series = JSON.parse(document.getElementById("series-data").textContent);
const slider = document.getElementById("frame-slider");
let frame = 0;

// Values that repeat are shown side by side in the order of the frames.
const isRising = series.x.every((value, index) => index === 0 || value > series.x[index - 1]);
const positions = isRising ? series.x : series.x.map((_, index) => index + 1);
const positionTitle = isRising ? series.x_name : `frame (${series.x_name} repeats)`;

function positionBetween(change) {
  return (positions[change - 1] + positions[change]) / 2;
}

function verticalLine(position, lineColour, dash) {
  return { type: "line", xref: "x", yref: "paper", x0: position, x1: position, y0: 0, y1: 1, line: { color: lineColour, width: 1.3, dash } };
}

function changeLines(quantity) {
  return series.changes.filter(([name]) => name === quantity).map(([, change]) => verticalLine(positionBetween(change), colour("fit"), "dash"));
}

function frameLine() {
  return verticalLine(positions[frame], colour("muted"), "solid");
}

function plotOf(figure) {
  return figure.querySelector(".plot");
}

function mapValues(values) {
  return series.map.small_angle ? values.map((value) => (value > 0 ? Math.log10(value) : null)) : values;
}

function drawMap(figure) {
  const plot = plotOf(figure), map = series.map;
  const columns = map.observed.map(mapValues);
  const rows = map.axis.map((_, point) => columns.map((column) => column[point]));
  const limit = Math.max(...columns.flat().filter((value) => value !== null).map(Math.abs));
  const scale = map.small_angle ? { colorscale: "Viridis" } : { colorscale: [[0, "#0072b2"], [0.5, "#f7f7f7"], [1, "#c44e00"]], zmin: -limit, zmax: limit };
  const title = map.small_angle ? "log I(Q)" : "G (1/Å²)";
  plot.setAttribute("aria-label", `Map of the measured curves by ${series.x_name}`);
  loadPlotly().react(plot, [{ type: "heatmap", x: positions, y: map.axis, z: rows, colorbar: { title: { text: title, side: "right" }, thickness: 12 }, ...scale }], layout({
    xaxis: axis(plainText(positionTitle)), yaxis: axis(map.small_angle ? "Q (1/Å)" : "r (Å)", map.small_angle ? { type: "log" } : {}),
    shapes: [frameLine(), ...changeLines("measured curves").map((line) => ({ ...line, line: { ...line.line, color: "#000000" } }))],
  }), config(plot));
  if (!plot.dataset.listens) {
    plot.dataset.listens = "yes";
    plot.on("plotly_click", (event) => chooseFrame(positions.indexOf(event.points[0].x)));
  }
}

function drawCurve(figure) {
  const plot = plotOf(figure), map = series.map, observed = map.observed[frame], calculated = map.calculated[frame];
  const difference = observed.map((value, point) => (value === null || calculated[point] === null ? null : value - calculated[point]));
  const hasFit = calculated.some((value) => value !== null);
  const traces = [
    pointTrace("data", map.axis, observed, colour("data")),
    ...(hasFit ? [lineTrace("fit", map.axis, calculated, colour("fit"))] : []),
    ...(hasFit && !map.small_angle ? [lineTrace("data - fit", map.axis, difference, colour("difference"), { yaxis: "y2", showlegend: false })] : []),
  ];
  const logarithmic = map.small_angle ? { type: "log" } : {};
  plot.setAttribute("aria-label", `Data and fit of ${series.files[frame]}`);
  loadPlotly().react(plot, traces, layout({
    xaxis: axis(map.small_angle ? "Q (1/Å)" : "r (Å)", { ...logarithmic, anchor: map.small_angle ? "y" : "y2" }),
    yaxis: axis(map.small_angle ? "I(Q)" : "G (1/Å²)", { ...logarithmic, domain: map.small_angle ? [0, 1] : [0.3, 1] }),
    ...(map.small_angle ? {} : { yaxis2: axis("data - fit", { domain: [0, 0.24] }) }),
  }), config(plot));
  figure.querySelector(".note").textContent = `${series.files[frame]}: ${series.status[frame]}${series.type[frame] ? `, ${series.type[frame]}` : ""}`;
}

function drawTypeAreas(figure) {
  const plot = plotOf(figure);
  const traces = Object.entries(series.types).map(([name, values], index) => lineTrace(plainText(name), positions, values, TYPE_COLOURS[index % 7], {
    stackgroup: "types", line: { width: 0.5, color: TYPE_COLOURS[index % 7], shape: "hvh" },
  }));
  plot.setAttribute("aria-label", `Types by ${series.x_name}`);
  loadPlotly().react(plot, traces, layout({ xaxis: axis(plainText(positionTitle)), yaxis: axis("share", { range: [0, 1] }), shapes: [frameLine(), ...Object.keys(series.types).flatMap((name) => changeLines(`share of ${name}`))] }), config(plot));
}

function drawQuantity(figure, quantity) {
  const plot = plotOf(figure);
  const rows = (condition) => positions.map((_, index) => index).filter(condition);
  const points = (select) => [select.map((index) => positions[index]), select.map((index) => quantity.value[index])];
  const isMarked = (index) => (quantity.name === "rw" || quantity.name === "chi2") && series.outlier[index];
  const hasBand = quantity.low.some((value, index) => value !== quantity.value[index]);
  const band = hasBand ? [
    lineTrace("", positions, quantity.low, colour("data"), { line: { width: 0 }, showlegend: false, hoverinfo: "skip" }),
    lineTrace("90 % band", positions, quantity.high, colour("data"), { line: { width: 0 }, fill: "tonexty", fillcolor: colour("band"), hoverinfo: "skip" }),
  ] : [];
  const outliers = rows(isMarked);
  const traces = [
    ...band,
    { ...pointTrace("value", positions, quantity.value, colour("data")), mode: "lines+markers", line: { color: colour("data"), width: 1 }, text: series.files.map(plainText), hovertemplate: "%{text}<br>%{x}: %{y}<extra></extra>" },
    ...(outliers.length ? [pointTrace("outlier", ...points(outliers), colour("failed"), { marker: { color: colour("failed"), size: 11, symbol: "x" } })] : []),
  ];
  plot.setAttribute("aria-label", `${quantity.title} by ${series.x_name}`);
  const unit = quantity.unit ? ` (${quantity.unit})` : "";
  loadPlotly().react(plot, traces, layout({
    xaxis: axis(plainText(positionTitle)), yaxis: axis(quantity.name + unit), shapes: [frameLine(), ...changeLines(quantity.name)],
  }), config(plot));
}

const drawings = {};

// A figure for each quantity stands between the types and the table of changes.
function addQuantityFigures() {
  const template = document.getElementById("types-figure");
  for (const quantity of series.quantities) {
    const figure = template.cloneNode(true);
    figure.id = `${quantity.name}-figure`;
    figure.classList.remove("wide");
    figure.querySelector("h3").textContent = quantity.title;
    figure.querySelector(".note").textContent = "";
    document.getElementById("changes-section").before(figure);
    drawings[figure.id] = () => drawQuantity(figure, quantity);
  }
}

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
    if (!visibleFigures.has(figure)) continue;
    pendingFigures.delete(figure);
    drawings[figure.id]();
  }
}

function redrawAll() {
  document.getElementById("theme-switch").textContent = isDark() ? "Light" : "Dark";
  for (const figure of document.querySelectorAll("#figures > figure")) if (!figure.hidden) pendingFigures.add(figure);
  drawPending();
}

function chooseFrame(number) {
  if (number < 0) return;
  frame = number;
  slider.value = String(number);
  document.getElementById("frame-label").textContent = `${series.x_name} ${series.x[frame]}, ${series.files[frame]}`;
  redrawAll();
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  redrawAll();
}

function columnsOf(figureName) {
  const base = { [series.x_name]: series.x, file: series.files };
  if (figureName === "curve-figure") return { [series.map.small_angle ? "Q" : "r"]: series.map.axis, observed: series.map.observed[frame], calculated: series.map.calculated[frame] };
  if (figureName === "map-figure") {
    return { [series.map.small_angle ? "Q" : "r"]: series.map.axis, ...Object.fromEntries(series.map.observed.map((column, index) => [`${index + 1}: ${series.x[index]}`, column])) };
  }
  if (figureName === "types-figure") return { ...base, ...series.types };
  const quantity = series.quantities.find(({ name }) => `${name}-figure` === figureName);
  return { ...base, ...quantityColumns(quantity) };
}

function quantityColumns({ name, value, low, high }) {
  return { [name]: value, [`${name}_low`]: low, [`${name}_high`]: high };
}

function allColumns() {
  const base = { [series.x_name]: series.x, file: series.files, status: series.status, type: series.type };
  return Object.assign(base, ...series.quantities.map(quantityColumns), series.types, { rw_outlier: series.outlier });
}

function setUp() {
  slider.max = String(series.x.length - 1);
  addQuantityFigures();
  drawings["map-figure"] = () => drawMap(document.getElementById("map-figure"));
  drawings["curve-figure"] = () => drawCurve(document.getElementById("curve-figure"));
  drawings["types-figure"] = () => drawTypeAreas(document.getElementById("types-figure"));
  document.getElementById("map-figure").hidden = document.getElementById("curve-figure").hidden = !series.map;
  document.getElementById("types-figure").hidden = !Object.keys(series.types).length;
  slider.addEventListener("input", () => chooseFrame(Number(slider.value)));
  document.getElementById("theme-switch").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
  document.getElementById("print-page").addEventListener("click", () => print());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  addEventListener("beforeprint", () => {
    for (const figure of document.querySelectorAll("#figures > figure")) visibleFigures.add(figure);
    setTheme("light");
  });
  for (const button of document.querySelectorAll("[data-save]")) {
    const figure = button.closest("figure"), name = `series-${figure.id.replace("-figure", "")}`;
    button.addEventListener("click", () => {
      if (button.dataset.save === "csv") saveText(`${name}.csv`, csvOfColumns(columnsOf(figure.id)), "text/csv");
      else savePlot(plotOf(figure), name, button.dataset.save);
    });
  }
  document.getElementById("save-series").addEventListener("click", () => saveText("series.csv", csvOfColumns(allColumns()), "text/csv"));
  for (const plot of document.querySelectorAll(".plot")) addZoomKeys(plot);
  for (const figure of document.querySelectorAll("#figures > figure")) observer.observe(figure);
  chooseFrame(0);
}

setUp();
