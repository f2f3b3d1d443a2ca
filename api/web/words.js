// Numbers and times as people read them, and a short way to make elements (text only: nothing is ever parsed as HTML).

const FINAL = new Set(["succeeded", "failed", "cancelled"]);

export const over = (job) => FINAL.has(job.state);

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function track(done, label, wide = false) {
  const fill = el("i");
  fill.style.setProperty("--done", Math.min(1, Math.max(0, done || 0)));
  const attributes = { class: wide ? "track wide" : "track" };
  if (label) Object.assign(attributes, { role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(done * 100) });
  return el("div", attributes, fill);
}

export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2);
  if (size >= 100) return value.toLocaleString("en", { maximumFractionDigits: 1 });
  return value.toFixed(size >= 10 ? 2 : 4);
}

// A value in a table: numbers as elsewhere, whole ones without decimals.
export function told(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return value.toLocaleString("en");
  return typeof value === "number" ? brief(value) : typeof value === "object" ? JSON.stringify(value) : String(value);
}

const brief = (value) => (Math.abs(value) < 1e-3 && value ? value.toExponential(2).replace(/\.?0+e/, "e") : short(value).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""));

export function bytes(size) {
  const power = size < 1000 ? 0 : size < 1e6 ? 1 : size < 1e9 ? 2 : 3;
  return `${(size / 1000 ** power).toFixed(power && size < 1e12 ? 1 : 0)} ${["B", "kB", "MB", "GB"][power]}`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function age(time) {
  const s = (Date.now() - Date.parse(time)) / 1000;
  if (s < 60) return "just now";
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

export const capital = (text) => text[0].toUpperCase() + text.slice(1);
export const words = (name) => String(name).replaceAll("_", " ");
