// The table of curves: sorting by a click on a title, filters, and selection of a row.

function cellValue(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  return cell.textContent.trim().toLowerCase();
}

// Empty cells come last in both directions.
function compareCells(first, second, sign) {
  if (first === "" || second === "") return (first === "") - (second === "");
  if (typeof first === "number" && typeof second === "number") return sign * (first - second);
  return sign * String(first).localeCompare(String(second), undefined, { numeric: true });
}

function sortTable(table, column) {
  const titles = [...table.tHead.rows[0].cells];
  const descending = titles[column].getAttribute("aria-sort") === "ascending";
  titles.forEach((title, index) => title.setAttribute("aria-sort", index === column ? (descending ? "descending" : "ascending") : "none"));
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [cellValue(row, column), row]);
  rows.sort(([first], [second]) => compareCells(first, second, descending ? -1 : 1));
  body.append(...rows.map(([, row]) => row));
}

function filterTable(table) {
  const words = document.getElementById("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const status = document.getElementById("filter-status").value;
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = Boolean(status && row.dataset.status !== status) || !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  const total = table.tBodies[0].rows.length;
  document.getElementById("row-count").textContent = shown === total ? "" : `${shown} of ${total} shown`;
}

function visibleRows(table) {
  return [...table.tBodies[0].rows].filter((row) => !row.hidden);
}

function saveTable(table) {
  const cells = (row) => [...row.cells].map((cell) => cell.textContent.trim());
  saveText("table.csv", csvText(cells(table.tHead.rows[0]), visibleRows(table).map(cells)), "text/csv");
}

// Arrow keys move between the rows while a file name has the focus.
function moveFocus(table, event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.target.tagName !== "BUTTON") return;
  const rows = visibleRows(table), next = rows[rows.indexOf(event.target.closest("tr")) + step];
  if (!next) return;
  event.preventDefault();
  next.querySelector("button").focus();
}

function setUpTable(table, openCurve) {
  [...table.tHead.rows[0].cells].forEach((title, column) => title.addEventListener("click", () => sortTable(table, column)));
  table.tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) openCurve(Number(row.dataset.curve));
  });
  table.tBodies[0].addEventListener("keydown", (event) => moveFocus(table, event));
  document.getElementById("filter-text").addEventListener("input", () => filterTable(table));
  document.getElementById("filter-status").addEventListener("change", () => filterTable(table));
  document.getElementById("save-table").addEventListener("click", () => saveTable(table));
}
