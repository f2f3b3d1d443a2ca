// A table whose columns sort: a click on a head, again for the other way.

import { el, told } from "./words.js";

// heads: names; rows: lists of plain values; cell(value, column) may give a node in place of the text
export function sortable(label, heads, rows, cell = (value) => told(value)) {
  const body = el("tbody");
  const wordy = heads.map((head, k) => head !== "job" && rows.some((row) => typeof row[k] === "string" && row[k]));
  let sorted = { column: -1, way: 1 };
  const fill = () => body.replaceChildren(...inOrder(rows, sorted).map((row) => el("tr", {}, row.map((value, k) => (
    k ? el("td", { class: wordy[k] && "words" }, cell(value, heads[k])) : el("th", { scope: "row" }, cell(value, heads[k])))))));
  const columns = heads.map((head, column) => {
    const sort = () => {
      sorted = { column, way: sorted.column === column ? -sorted.way : 1 };
      columns.forEach((node, k) => node.setAttribute("aria-sort", k !== column ? "none" : sorted.way > 0 ? "ascending" : "descending"));
      fill();
    };
    return el("th", { scope: "col", class: wordy[column] && "words", "aria-sort": "none" }, el("button", { type: "button", class: "sort", onclick: sort }, head));
  });
  fill();
  return el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": label },
    el("table", { class: "figures sortable" }, el("thead", {}, el("tr", {}, columns)), body));
}

function inOrder(rows, { column, way }) {
  return column < 0 ? rows : rows.toSorted((a, b) => way * compare(a[column], b[column]) || 0);
}

// Numbers before words; nothing always counts as the largest.
function compare(a, b) {
  const rank = (value) => (typeof value === "number" ? 0 : value === null || value === undefined ? 2 : 1);
  return rank(a) - rank(b) || (rank(a) === 0 ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
}
