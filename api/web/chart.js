// A line chart in SVG: training in blue, validation in orange, single batches faintly; one readout under the pointer.

import { capital, el, short, svg, words } from "./words.js";

const EDGE = { left: 50, right: 12, top: 10, bottom: 24 };
const HEIGHT = 210;
const NAMES = { batch: "batch", train: "training", val: "validation" };

export class Chart {
  constructor(name) {
    this.name = name;
    this.legend = el("div", { class: "legend" });
    this.svg = svg("svg", { class: "chart", role: "img", "aria-label": `${words(name)} by step` });
    this.node = el("section", { class: "panel" },
      el("div", { class: "chart-head" }, el("h3", {}, capital(words(name))), this.legend), this.svg);
    this.lines = {};
    this.at = null;
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => { this.at = null; this.draw(); });
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.svg);
  }

  // lines: { train: [[step, value], …], val: […] }, each by step
  show(lines) {
    this.lines = lines;
    this.draw();
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    this.at = (event.clientX - box.left - EDGE.left) / Math.max(1, box.width - EDGE.left - EDGE.right);
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    const kinds = ["batch", "train", "val"].filter((kind) => this.lines[kind]?.length);
    if (!width || !kinds.length) return;
    const all = kinds.flatMap((kind) => this.lines[kind]);
    const steps = extent(all.map((p) => p[0]));
    const ticks = nice(...robust(all.map((p) => p[1])));
    const values = [ticks[0], ticks.at(-1)];
    const x = (s) => EDGE.left + (width - EDGE.left - EDGE.right) * ratio(s, steps);
    const y = (v) => HEIGHT - EDGE.bottom - (HEIGHT - EDGE.top - EDGE.bottom) * Math.min(1.02, ratio(v, values));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(
      ...ticks.flatMap((t) => [
        svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(t), y2: y(t) }),
        svg("text", { x: EDGE.left - 8, y: y(t) + 4, "text-anchor": "end" }, tick(t, ticks[1] - ticks[0])),
      ]),
      svg("text", { x: x(steps[0]), y: HEIGHT - 6 }, `step ${steps[0].toLocaleString("en")}`),
      svg("text", { x: x(steps[1]), y: HEIGHT - 6, "text-anchor": "end" }, steps[1].toLocaleString("en")),
      ...kinds.map((kind) => svg("path", { class: kind, d: path(this.lines[kind], x, y) })),
      ...this.readout(kinds, steps, x, y),
    );
  }

  readout(kinds, steps, x, y) {
    const step = this.at === null ? steps[1] : steps[0] + this.at * (steps[1] - steps[0]);
    const near = kinds.map((kind) => [kind, nearest(this.lines[kind], step)]);
    // The value of one batch says little by itself: it is named only under the pointer.
    const told = near.filter(([kind]) => kind !== "batch" || this.at !== null || kinds.length === 1);
    this.legend.replaceChildren(...told.map(([kind, p]) =>
      el("span", { class: kind }, el("b", {}, kinds.length > 1 ? `${NAMES[kind]} ${short(p[1])}` : short(p[1])))));
    const dots = near.map(([kind, p]) => svg("circle", { class: kind, r: 4, cx: x(p[0]), cy: y(p[1]) }));
    if (this.at === null) return dots;
    const at = x(near[0][1][0]);
    return [svg("line", { class: "cross", x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }), ...dots];
  }
}

const ratio = (v, [low, high]) => (high > low ? (v - low) / (high - low) : 0.5);
const extent = (numbers) => numbers.reduce(([low, high], n) => [Math.min(low, n), Math.max(high, n)], [Infinity, -Infinity]);
const path = (points, x, y) => points.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("");

// A wild first step must not flatten everything after it: the top of the axis is the 99th of a hundred.
function robust(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const high = sorted.length > 20 ? sorted[Math.ceil(sorted.length * 0.99) - 1] : sorted.at(-1);
  return [sorted[0], high];
}

export function nice(low, high) {
  const reach = high - low || Math.abs(high) || 1;
  const rough = reach / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((m) => m * power >= rough) * power;
  const first = Math.floor(low / step) * step;
  const count = Math.max(1, Math.ceil((high - first) / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, i) => first + i * step);
}

export function tick(value, step) {
  const digits = Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(step) + 1e-9)));
  const text = value.toFixed(digits);
  return Math.abs(value) >= 1e5 || digits > 5 ? value.toExponential(1) : text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function nearest(points, step) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1; else high = middle;
  }
  const before = points[Math.max(0, low - 1)];
  return Math.abs(before[0] - step) < Math.abs(points[low][0] - step) ? before : points[low];
}
