// A finished line chart in SVG, several lines over one axis; under the pointer, the values of all of them.

import { nice, tick } from "./chart.js";
import { el, short, svg } from "./words.js";

const EDGE = { left: 46, right: 10, top: 8, bottom: 22 };
const HEIGHT = 170;

// lines: [{ name, kind, points: [[x, y], …] }]; `axis` says what x counts
export function plot(title, lines, axis, note) {
  const legend = el("div", { class: "legend" });
  const canvas = svg("svg", { class: "chart plot", role: "img", "aria-label": `${title}: ${lines.map((line) => line.name).join(", ")}` });
  const node = el("figure", { class: "plot-box" }, el("figcaption", { class: "chart-head" }, el("h4", {}, title), legend), canvas, note && el("p", { class: "sub" }, note));
  const all = lines.flatMap((line) => line.points);
  const xs = [Math.min(...all.map((p) => p[0])), Math.max(...all.map((p) => p[0]))];
  const ticks = nice(Math.min(...all.map((p) => p[1])), Math.max(...all.map((p) => p[1])));
  let at = null;

  function draw() {
    const width = canvas.clientWidth;
    if (!width) return;
    const x = (v) => EDGE.left + (width - EDGE.left - EDGE.right) * (xs[1] > xs[0] ? (v - xs[0]) / (xs[1] - xs[0]) : 0.5);
    const y = (v) => HEIGHT - EDGE.bottom - (HEIGHT - EDGE.top - EDGE.bottom) * ((v - ticks[0]) / (ticks.at(-1) - ticks[0]));
    canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const pointed = at === null ? null : Math.round(xs[0] + ((at - EDGE.left) / (width - EDGE.left - EDGE.right)) * (xs[1] - xs[0]));
    const told = lines.map((line) => [line, pointed === null ? null : line.points.find((p) => p[0] === pointed)]);
    legend.replaceChildren(...told.map(([line, p]) => el("span", { class: line.kind }, p ? `${line.name} ` : line.name, p && el("b", {}, short(p[1])))));
    canvas.replaceChildren(
      ...ticks.flatMap((t) => [
        svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(t), y2: y(t) }),
        svg("text", { x: EDGE.left - 7, y: y(t) + 4, "text-anchor": "end" }, tick(t, ticks[1] - ticks[0])),
      ]),
      ...(xs[0] < 0 && xs[1] > 0 ? [svg("line", { class: "now", x1: x(0.5), x2: x(0.5), y1: EDGE.top, y2: HEIGHT - EDGE.bottom })] : []),
      svg("text", { x: x(xs[0]), y: HEIGHT - 5 }, `${axis} ${xs[0]}`),
      svg("text", { x: x(xs[1]), y: HEIGHT - 5, "text-anchor": "end" }, String(xs[1])),
      ...lines.map((line) => svg("path", { class: line.kind, d: line.points.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("") })),
      ...told.filter(([, p]) => p).map(([line, p]) => svg("circle", { class: line.kind, r: 3.5, cx: x(p[0]), cy: y(p[1]) })),
    );
  }

  canvas.addEventListener("pointermove", (event) => { at = event.clientX - canvas.getBoundingClientRect().left; draw(); });
  canvas.addEventListener("pointerleave", () => { at = null; draw(); });
  new ResizeObserver(draw).observe(canvas);
  return node;
}
