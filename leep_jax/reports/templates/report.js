"use strict";
// Sorts tables by a click on a header: numbers as numbers, what is missing last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];
  const said = document.getElementById("sorted");
  const value = (row, column, numeric) => {
    const text = row.cells[column].dataset.value;
    if (text === undefined || text === "") return null;
    return numeric ? Number(text) : text;
  };
  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    button.addEventListener("click", () => {
      const numeric = header.dataset.kind === "number";
      const now = header.getAttribute("aria-sort");
      const other = { ascending: "descending", descending: "ascending" };
      const order = other[now] || header.dataset.first;
      const sign = order === "ascending" ? 1 : -1;
      const rows = Array.from(body.rows, (row) => [
        value(row, column, numeric), row,
      ]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        if (numeric) return sign * (a - b);
        return sign * a.localeCompare(b, undefined, { numeric: true });
      });
      for (const [, row] of rows) body.append(row);
      for (const each of headers) each.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", order);
      said.textContent = `Sorted by ${button.textContent.trim()}, ${order}.`;
    });
  });
}
