// The curves of a study: its panels as SVG, linear or logarithmic, with intervals and marked stretches. Under the pointer,
// or moved by the arrow keys, a cross names the value of every line.

import { nice } from "./chart.js";
import { el, svg, told } from "./words.js";

const EDGE = { left: 52, right: 14, top: 10, bottom: 40 };
const HEIGHT = 260;
const COLOURS = 8;
const NEAR = 14;

// A panel of a study's result: { title, x, y, log_x, log_y, lines: [{ name, mark, points: [[x, y, low, high], …] }], spans }
export class Panel {
  constructor(panel) {
    this.panel = panel;
    this.lines = panel.lines.map((line, k) => ({ ...line, kind: `k${k % COLOURS}${k >= COLOURS || line.mark === "dashed" ? " dashed" : ""}`, runs: runs(line.points, panel) }));
    this.xs = [...new Set(this.lines.flatMap((line) => line.runs.flat().map((p) => p[0])))].sort((a, b) => a - b);
    [this.acrossEnds, this.upEnds] = ends(this.lines, panel);
    this.at = null;
    this.only = null;
    const label = `${panel.title}: ${panel.y} by ${panel.x}, ${this.lines.map((line) => line.name).join(", ")}. Arrow keys read the values.`;
    this.canvas = svg("svg", { class: "chart study-chart", role: "img", tabindex: "0", "aria-label": label });
    this.legend = el("ul", { class: "legend study-legend" });
    this.said = el("p", { class: "unseen", role: "status" });
    this.spot = el("p", { class: "spot sub" });
    this.node = el("figure", { class: "plot-box" },
      el("figcaption", { class: "chart-head" }, el("h4", {}, panel.title), this.spot), this.canvas, this.legend, this.said);
    this.listen();
  }

  listen() {
    this.canvas.addEventListener("pointermove", (event) => this.point(event.clientX - this.canvas.getBoundingClientRect().left));
    this.canvas.addEventListener("pointerleave", () => { this.at = null; this.draw(); });
    this.canvas.addEventListener("blur", () => { this.at = null; this.draw(); });
    this.canvas.addEventListener("keydown", (event) => this.press(event));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.canvas);
  }

  point(pixel) {
    const { x } = this.scales();
    this.at = this.xs.reduce((best, one) => (Math.abs(x(one) - pixel) < Math.abs(x(best) - pixel) ? one : best), this.xs[0]) ?? null;
    this.draw();
  }

  press(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !this.xs.length) return;
    event.preventDefault();
    const now = this.at === null ? (step > 0 ? -1 : this.xs.length) : this.xs.indexOf(this.at);
    this.at = this.xs[Math.min(this.xs.length - 1, Math.max(0, now + step))];
    this.draw();
    this.said.textContent = `${this.panel.x} ${told(this.at)}: ${this.values().filter(([, p]) => p).map(([line, p]) => `${line.name} ${value(p)}`).join(", ")}`;
  }

  scales() {
    const wide = this.canvas.clientWidth;
    return {
      wide,
      x: scale(this.acrossEnds, EDGE.left, wide - EDGE.right, this.panel.log_x),
      y: scale(this.upEnds, HEIGHT - EDGE.bottom, EDGE.top, this.panel.log_y),
    };
  }

  // Of each line the point under the cross; one that lies too far off has none.
  values() {
    const { x } = this.scales();
    return this.lines.map((line) => {
      const near = line.runs.flat().reduce((best, p) => (best && Math.abs(x(best[0]) - x(this.at)) <= Math.abs(x(p[0]) - x(this.at)) ? best : p), null);
      return [line, near && Math.abs(x(near[0]) - x(this.at)) <= NEAR ? near : null];
    });
  }

  draw() {
    const { wide, x, y } = this.scales();
    if (!wide) return;
    const found = this.at === null ? this.lines.map((line) => [line, null]) : this.values();
    this.canvas.setAttribute("viewBox", `0 0 ${wide} ${HEIGHT}`);
    this.canvas.replaceChildren(...this.axes(wide, x, y), ...this.lines.flatMap((line) => this.drawn(line, x, y)), ...this.cross(found, x, y));
    this.spot.textContent = this.at === null ? "" : `${this.panel.x} ${told(this.at)}`;
    this.legend.replaceChildren(...found.map(([line, p]) => this.entry(line, p)));
  }

  entry(line, p) {
    const dim = (only) => () => { if (this.only !== only) { this.only = only; this.shade(); } };
    return el("li", { class: line.kind, onpointerenter: dim(line), onpointerleave: dim(null) }, line.name, p && el("b", {}, value(p)));
  }

  shade() {
    for (const node of this.canvas.querySelectorAll("[data-line]")) {
      node.classList.toggle("dim", this.only !== null && this.lines[node.dataset.line] !== this.only);
    }
  }

  axes(wide, x, y) {
    const { panel } = this;
    const spans = panel.spans.map((span) => [Math.max(span.low, this.acrossEnds[0]), Math.min(span.high, this.acrossEnds[1]), span.name]).filter(([low, high]) => high > low);
    return [
      ...spans.map(([low, high, name]) => svg("rect", { class: "span", x: x(low), y: EDGE.top, width: x(high) - x(low), height: HEIGHT - EDGE.bottom - EDGE.top }, svg("title", {}, name))),
      ...ticks(this.upEnds, panel.log_y).flatMap((t) => [
        svg("line", { class: "grid", x1: EDGE.left, x2: wide - EDGE.right, y1: y(t), y2: y(t) }),
        svg("text", { x: EDGE.left - 7, y: y(t) + 4, "text-anchor": "end" }, mark(t))]),
      ...ticks(this.acrossEnds, panel.log_x, wide < 340).map((t) => svg("text", { x: x(t), y: HEIGHT - EDGE.bottom + 15, "text-anchor": "middle" }, mark(t))),
      ...spans.map(([low, high, name]) => svg("text", { class: "span-name", x: (x(low) + x(high)) / 2, y: EDGE.top + 13, "text-anchor": "middle" }, name)),
      svg("text", { x: (EDGE.left + wide - EDGE.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, panel.x),
      svg("text", { transform: `translate(11 ${(EDGE.top + HEIGHT - EDGE.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, panel.y),
    ];
  }

  drawn(line, x, y) {
    const high = (v) => Math.min(HEIGHT - EDGE.bottom, Math.max(EDGE.top, y(v)));
    const number = this.lines.indexOf(line);
    const part = (name, attributes) => svg(name, { "data-line": number, ...attributes, class: `${line.kind} ${attributes.class || ""}${this.only && this.only !== line ? " dim" : ""}` });
    return line.runs.flatMap((run) => {
      const banded = run.filter((p) => Number.isFinite(p[2]) && Number.isFinite(p[3]));
      const there = way(banded.map((p) => [x(p[0]), high(p[2])]));
      const back = way(banded.toReversed().map((p) => [x(p[0]), high(p[3])]));
      return [
        banded.length > 1 && part("path", { class: "band", d: `${there}L${back.slice(1)}Z` }),
        banded.length === 1 && part("path", { d: `M${x(banded[0][0])} ${high(banded[0][2])}V${high(banded[0][3])}` }),
        line.mark !== "dots" && run.length > 1 && part("path", { d: way(run.map((p) => [x(p[0]), high(p[1])])) }),
        ...(["dots", "both"].includes(line.mark) || run.length === 1 ? run.map((p) => part("circle", { class: "mark", r: 3, cx: x(p[0]), cy: high(p[1]) })) : []),
      ].filter(Boolean);
    });
  }

  cross(found, x, y) {
    if (this.at === null) return [];
    return [
      svg("line", { class: "cross", x1: x(this.at), x2: x(this.at), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      ...found.filter(([, p]) => p).map(([line, p]) => svg("circle", { class: line.kind, r: 4.5, cx: x(p[0]), cy: y(Math.min(p[1], this.upEnds[1])) })),
    ];
  }
}

const way = (places) => (places.length ? `M${places.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L")}` : "");
const value = (p) => (Number.isFinite(p[2]) && Number.isFinite(p[3]) ? `${told(p[1])} (${told(p[2])} to ${told(p[3])})` : told(p[1]));

// Stretches of points that have a place on the axes; a line breaks where one has none.
function runs(points, panel) {
  const shown = (v, log) => Number.isFinite(v) && (!log || v > 0);
  const found = [[]];
  for (const p of points) {
    if (shown(p[0], panel.log_x) && shown(p[1], panel.log_y)) found.at(-1).push(p);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((run) => run.length);
}

// The ends of both axes. Intervals count as far as they do not dwarf the points themselves.
function ends(lines, panel) {
  const points = lines.flatMap((line) => line.runs.flat());
  const ys = points.map((p) => p[1]);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const room = high - low || Math.abs(high) || 1;
  const wide = points.flatMap((p) => p.slice(2, 4)).filter((v) => Number.isFinite(v) && v < high + room && v > (panel.log_y ? 0 : low - room));
  return [reach(points.map((p) => p[0]), panel.log_x, false), reach([...ys, ...wide], panel.log_y, true)];
}

function reach(values, log, round) {
  if (!values.length) return log ? [0.1, 10] : [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (log) return high / low < 1 + 1e-9 ? [low / 2, high * 2] : round ? [low * (low / high) ** 0.05, high * (high / low) ** 0.05] : [low, high];
  if (round) { const all = nice(low, high); return [all[0], all.at(-1)]; }
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

function scale([low, high], begin, end, log) {
  const at = log ? Math.log10 : (v) => v;
  return (v) => begin + ((end - begin) * (at(v) - at(low))) / (at(high) - at(low));
}

function ticks([low, high], log, few = false) {
  if (!log) return nice(low, high).filter((t) => t >= low - 1e-12 && t <= high + (high - low) * 1e-9).filter((_, k) => !few || k % 2 === 0);
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.max(1, Math.ceil((last - first) / (few ? 4 : 7)));
  const parts = high / low < 200 ? (few ? [1, 3] : [1, 2, 5]) : [1];
  const found = [];
  for (let power = first; power <= last; power += every) found.push(...parts.map((k) => k * 10 ** power));
  const inside = found.filter((v) => v >= low * 0.999 && v <= high * 1.001);
  return inside.length ? inside : [low];
}

// 1e-5, 0.02, 50k
function mark(number) {
  const size = Math.abs(number);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return number.toExponential(0);
  return size >= 1e4 ? `${+(number / 1000).toPrecision(6)}k` : String(+number.toPrecision(6));
}
