// Figures of one curve: data and fit, sizes, candidates (drawn by plotly), and bars of the types.

const MODE_BUTTONS = [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]];
const NARROW = 700; // px
const TYPE_COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c8c"];
const MARKER_SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star", "hexagon", "pentagon"];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

// Plotly reads some HTML in its texts. All texts of files pass through this function.
function plainText(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

// The script of plotly is run when the first figure is drawn, so that the table appears before.
function loadPlotly() {
  if (!window.Plotly) {
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly-source").textContent;
    document.head.append(script);
  }
  return window.Plotly;
}

function axis(title, options) {
  return {
    title: { text: title, standoff: 6 }, gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"),
    automargin: true, ...options,
  };
}

function config(plot) {
  return { displaylogo: false, responsive: true, modeBarButtons: MODE_BUTTONS, displayModeBar: plot.clientWidth < NARROW ? false : "hover" };
}

function layout(options) {
  return {
    margin: { l: 56, r: 10, t: 8, b: 40 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("muted"), activecolor: colour("text") }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("text"), size: 12, family: "system-ui, sans-serif" }, hovermode: "closest", dragmode: "zoom",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    hoverlabel: { bgcolor: colour("panel"), font: { color: colour("text") } }, ...options,
  };
}

// A shaded range of x over the whole height.
function shade(start, end) {
  return {
    type: "rect", xref: "x", yref: "paper", x0: start, x1: end, y0: 0, y1: 1, fillcolor: colour("shade"), line: { width: 0 }, layer: "below",
  };
}

function lineTrace(name, x, y, lineColour, options) {
  return { type: "scatter", mode: "lines", name, x, y, line: { color: lineColour, width: 1.6 }, ...options };
}

function pointTrace(name, x, y, pointColour, options) {
  return { type: "scatter", mode: "markers", name, x, y, marker: { color: pointColour, size: 4.5, symbol: "circle-open" }, ...options };
}

function drawFit(plot, curve) {
  const fit = curve.fit;
  const note = plot.parentElement.querySelector(".note");
  plot.setAttribute("aria-label", `Data and fit of ${curve.file}`);
  if (fit.kind === "pdf") {
    drawPdfFit(plot, fit);
    note.textContent = `Fitted from r = ${fit.range[0].toFixed(2)} to ${fit.range[1].toFixed(2)} Å. The shaded range was not fitted.`;
  } else {
    drawSaxsFit(plot, fit);
    note.textContent = `Fitted from Q = ${fit.range[0].toPrecision(3)} to ${fit.range[1].toPrecision(3)} 1/Å. The shaded range was not fitted.`;
  }
  note.textContent += " Drag to zoom, double-click for the whole range. Saved tables have the points that are drawn; fits/ has all points.";
}

function drawPdfFit(plot, fit) {
  const [start, end] = fit.range;
  const difference = fit.data.map((value, index) => value - fit.fit[index]);
  const traces = [
    pointTrace("data", fit.x, fit.data, colour("data")),
    lineTrace(plainText(fit.label), fit.x, fit.fit, colour("fit")),
    lineTrace("data - fit", fit.x, difference, colour("difference"), { yaxis: "y2", showlegend: false }),
    ...(fit.ensemble ? [lineTrace(fit.ensemble_label, fit.x, fit.ensemble, colour("data"), { line: { color: colour("data"), width: 1.3, dash: "dot" } })] : []),
    ...(fit.background ? [lineTrace("background", fit.x, fit.background, colour("muted"), { line: { color: colour("muted"), dash: "dash", width: 1 } })] : []),
  ];
  const right = 1.04 * end;
  loadPlotly().react(plot, traces, layout({
    xaxis: axis(fit.axes[0], { range: [0, right], anchor: "y2" }),
    yaxis: axis(fit.axes[1], { domain: [0.3, 1] }),
    yaxis2: axis("data - fit", { domain: [0, 0.24] }),
    shapes: [shade(0, start), shade(end, right)],
  }), config(plot));
}

// Both models were fitted without the shaded range. Within it they are predictions.
function drawPrediction(plot, curve) {
  const prediction = curve.prediction;
  plot.setAttribute("aria-label", `Predictions of ${curve.file} beyond the fitted range`);
  const traces = [
    pointTrace("data", prediction.x, prediction.data, colour("data")),
    lineTrace(`one structure, Rw ${prediction.rw.single}`, prediction.x, prediction.single, colour("muted"), { line: { color: colour("muted"), width: 1.3, dash: "dash" } }),
    lineTrace(`distribution, Rw ${prediction.rw.distribution}`, prediction.x, prediction.distribution, colour("fit")),
  ];
  loadPlotly().react(plot, traces, layout({
    xaxis: axis(prediction.axes[0], { range: [prediction.x[0], prediction.end] }), yaxis: axis(prediction.axes[1]), shapes: [shade(prediction.cut, prediction.end)],
  }), config(plot));
  plot.parentElement.querySelector(".note").textContent =
    `Both models were fitted ${prediction.axes[0].startsWith("Q") ? "outside the shaded range, and predict it" : `up to ${prediction.cut} Å, and predict the shaded range`}. Better predictions decide between them. Rw is that of the shaded range without a smooth background.`;
}

function drawSaxsFit(plot, fit) {
  const [start, end] = fit.range;
  const left = start / 1.3, right = end * 1.15;
  const traces = [
    pointTrace("data", fit.x, fit.data, colour("data"), {
      error_y: { type: "data", array: fit.sigma, visible: true, thickness: 0.8, width: 0, color: colour("data") },
    }),
    lineTrace("fit", fit.x, fit.fit, colour("fit")),
    pointTrace("residual / σ", fit.x, fit.residual, colour("difference"), { yaxis: "y2", showlegend: false }),
    ...(fit.background ? [lineTrace("background", fit.x, fit.background, colour("muted"), { line: { color: colour("muted"), dash: "dash", width: 1 } })] : []),
  ];
  const positive = fit.data.filter((value) => value > 0);
  const range = [Math.log10(Math.min(...positive) / 2), Math.log10(2 * Math.max(...positive))];
  loadPlotly().react(plot, traces, layout({
    xaxis: axis("Q (1/Å)", { type: "log", range: [Math.log10(left), Math.log10(right)], anchor: "y2" }),
    yaxis: axis("I(Q)", { type: "log", domain: [0.3, 1], range, exponentformat: "power", dtick: 1 }),
    yaxis2: axis("residual / σ", { domain: [0, 0.24] }),
    shapes: [shade(left, start), shade(end, right)],
  }), config(plot));
}

function drawSizes(plot, curve, weighting) {
  const sizes = curve.sizes, columns = sizes[weighting];
  plot.setAttribute("aria-label", `Distribution of sizes of ${curve.file}, by ${weighting}`);
  const parts = sizes.types.map((name, index) => lineTrace(plainText(name), sizes.x, columns.parts[index], TYPE_COLOURS[index % 7], {
    stackgroup: "types", line: { width: 0.5, color: TYPE_COLOURS[index % 7] },
  }));
  const band = [
    lineTrace("", sizes.x, columns.low, colour("data"), {
      line: { width: parts.length ? 1 : 0, dash: "dot", color: colour("text") }, showlegend: false, hoverinfo: "skip",
    }),
    lineTrace("90 % band", sizes.x, columns.high, colour("data"), {
      line: { width: parts.length ? 1 : 0, dash: "dot", color: colour("text") }, fill: parts.length ? "none" : "tonexty", fillcolor: colour("band"),
    }),
  ];
  const total = lineTrace(parts.length ? "all types" : "best fit", sizes.x, columns.line, colour(parts.length ? "text" : "data"), { line: { width: 2, color: colour(parts.length ? "text" : "data") } });
  const [first, last] = [sizes.x[0], sizes.x.at(-1)];
  const [low, high] = [sizes.limits[0] ?? first, sizes.limits[1] ?? last];
  const shapes = [...(low > first ? [shade(first, Math.min(low, last))] : []), ...(high < last ? [shade(Math.max(high, first), last)] : [])];
  const unit = sizes.unit === "%" ? (weighting === "volume" ? "% of the atoms" : "% of the particles") : `${sizes.unit}, by ${weighting}`;
  const range = sizes.log ? [Math.log10(first), Math.log10(last)] : [first, last];
  loadPlotly().react(plot, [...parts, ...band, total], layout({
    xaxis: axis(sizes.axis, { type: sizes.log ? "log" : "linear", range }),
    yaxis: axis(unit, { rangemode: "tozero" }),
    shapes,
  }), config(plot));
  plot.parentElement.querySelector(".note").textContent =
    [sizes.note, sizes.limits_text, shapes.length ? sizes.shade_text : ""].filter(Boolean).join(" ");
}

function candidateText(candidates, index) {
  const label = candidates.labels[index] ?? candidates.families[candidates.family[index]];
  return plainText(`${candidates.rank[index]}. ${label}, Rw ${candidates.rw[index]}, weight ${candidates.weight[index]}`);
}

function drawCandidates(plot, curve) {
  const candidates = curve.candidates;
  plot.setAttribute("aria-label", `Rw against size of the candidates of ${curve.file}`);
  const select = (condition) => candidates.size.map((_, index) => index).filter(condition);
  const points = (rows) => ({
    x: rows.map((index) => candidates.size[index]), y: rows.map((index) => candidates.rw[index]),
    text: rows.map((index) => candidateText(candidates, index)), hoverinfo: "text", type: "scatter", mode: "markers",
  });
  const families = candidates.families.map((name, family) => ({
    ...points(select((index) => candidates.family[index] === family)), name: plainText(name),
    marker: { symbol: MARKER_SYMBOLS[family % 10], size: 7, color: TYPE_COLOURS[family % 7], opacity: 0.85 },
  }));
  const credible = {
    ...points(select((index) => candidates.in90[index])), name: "90 % set", hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 13, color: colour("ring"), line: { width: 1.4 } },
  };
  loadPlotly().react(plot, [...families, credible], layout({
    xaxis: axis(candidates.size_axis), yaxis: axis("Rw"),
  }), config(plot));
  plot.parentElement.querySelector(".note").textContent =
    `${candidates.size.length} of ${candidates.fitted} candidates that were fitted; candidates/ lists up to 200. Rings mark the 90 % set.`;
}

function drawTypes(figure, types) {
  figure.querySelector("h3").textContent = types.title;
  const bars = types.rows.map(([name, value, low, high]) => {
    const track = element("span", "track"), bar = element("span", "bar"), interval = element("span", "interval");
    bar.style.width = `${100 * value}%`;
    track.append(bar);
    if (low !== null) {
      interval.style.left = `${100 * low}%`;
      interval.style.width = `${100 * Math.min(high, 1) - 100 * low}%`;
      track.append(interval);
    }
    const range = low === null ? "" : ` (${percent(low)} to ${percent(high)})`;
    return [element("span", "", name), track, element("span", "", percent(value) + range)];
  });
  figure.querySelector(".bars").replaceChildren(...bars.flat());
}

function percent(share) {
  return share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`;
}

function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// The keys + and - zoom a figure, the arrows move it, and 0 shows the whole range.
function addZoomKeys(plot) {
  plot.addEventListener("keydown", (event) => {
    const moves = { "+": [0.15, -0.15], "=": [0.15, -0.15], "-": [-0.2, 0.2], ArrowLeft: [-0.15, -0.15], ArrowRight: [0.15, 0.15] };
    if (event.key === "0") window.Plotly.relayout(plot, { "xaxis.autorange": true, "yaxis.autorange": true });
    else if (moves[event.key]) {
      const [start, end] = plot.layout.xaxis.range, width = end - start, [left, right] = moves[event.key];
      window.Plotly.relayout(plot, { "xaxis.range": [start + left * width, end + right * width] });
    } else return;
    event.preventDefault();
  });
}

async function savePlot(plot, name, format) {
  const size = { width: 1000, height: 620, format, scale: format === "png" ? 2 : 1 };
  const address = await window.Plotly.toImage(plot, size);
  const [head, body] = [address.slice(0, address.indexOf(",")), address.slice(address.indexOf(",") + 1)];
  const bytes = head.includes("base64") ? Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0)) : decodeURIComponent(body);
  saveBlob(`${name}.${format}`, new Blob([bytes], { type: format === "png" ? "image/png" : "image/svg+xml" }));
}
