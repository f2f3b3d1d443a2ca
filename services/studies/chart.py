"""The picture of a study: its panels side by side as one SVG, for light and dark pages, without any dependency.

The same result gives the same bytes. Points without a finite number are left out; a line breaks there.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from services.drawing.svg import escaped, n

COLOURS: Final = (
    ("#2563b8", "#7db3ff"), ("#c2410c", "#fb9a5c"), ("#15803d", "#5fd08a"), ("#9333ea", "#c79bff"),
    ("#0e7490", "#5ed0e6"), ("#be185d", "#f58ab8"), ("#8a7a00", "#dccb4e"), ("#4d5b6a", "#aab7c4"),
)  # fmt: skip
_LIGHT = "".join(f"--c{k}:{light};" for k, (light, _) in enumerate(COLOURS))
_DARK = "".join(f"--c{k}:{dark};" for k, (_, dark) in enumerate(COLOURS))
STYLE: Final = (
    f":root{{--card:#fffdf9;--ink:#1c2733;--soft:#5c6672;--grid:#e4e0d6;--span:#eaf1e4;{_LIGHT}}}"
    f"@media(prefers-color-scheme:dark){{:root{{--card:#18202a;--ink:#e8e6df;--soft:#9aa7b4;--grid:#2c3743;--span:#22362a;{_DARK}}}}}"
    "text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;fill:var(--soft)}"
    ".t{font-size:13px;font-weight:600;fill:var(--ink)}.m{text-anchor:middle}.e{text-anchor:end}"
    ".p{fill:var(--card)}.g{stroke:var(--grid);stroke-width:1;fill:none}.s{fill:var(--span)}"
    ".l{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.d{stroke-dasharray:5 4}"
    ".b{stroke:none;opacity:.16}"
    + "".join(f".k{k}{{stroke:var(--c{k});fill:var(--c{k})}}" for k in range(len(COLOURS)))
    + ".l{fill:none}"
)  # fmt: skip
POLICY: Final = (
    "default-src 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; sandbox; frame-ancestors 'none'"
)
"""The strictest policy under which the picture looks as it should: its own style, and nothing else at all."""

WIDE, HIGH = 440.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM, _ROW = 62.0, 16.0, 38.0, 46.0, 16.0
_TICKS = 5
_ROOM = 1e-12


@final
@dataclass(frozen=True)
class Scale:
    """From numbers to pixels along one axis, linear or logarithmic."""

    low: float
    high: float
    begin: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, at = (math.log10(v) for v in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value,
        )  # fmt: skip
        return self.begin + (self.end - self.begin) * (at - low) / (high - low)

    def shows(self, value: float) -> bool:
        """Whether a value has a place here."""
        return math.isfinite(value) and (not self.log or value > 0)

    def ticks(self) -> list[float]:
        """Round values to label."""
        return _decades(self.low, self.high) if self.log else _round(self.low, self.high)


def draw(result: Mapping[str, Any], title: str) -> str:
    """The panels of a study's result (see `services.studies.kind.Panel`) as SVG."""
    panels: Sequence[Mapping[str, Any]] = result["panels"]
    across = min(2, max(1, len(panels)))
    tall = [HIGH + _ROW * _legend_rows(panel) for panel in panels]
    rows = [max(tall[k : k + across]) for k in range(0, len(tall), across)]
    width, height = WIDE * across, sum(rows) + 26
    parts = [f'<text class="t" x="16" y="20">{escaped(title)}</text>']
    for number, panel in enumerate(panels):
        x, y = WIDE * (number % across), 26 + sum(rows[: number // across])
        parts.append(f'<g transform="translate({n(x)} {n(y)})">{"".join(_panel(panel))}</g>')
    return _document(title, str(result.get("verdict", "")), width, height, parts)


def _document(title: str, description: str, width: float, height: float, parts: Sequence[str]) -> str:
    w, h = math.ceil(width), math.ceil(height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img"'
        f' aria-labelledby="title desc"><title id="title">{escaped(title)}</title>'
        f'<desc id="desc">{escaped(description)}</desc><style>{STYLE}</style>'
        f'<rect class="p" width="{w}" height="{h}" rx="10"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(panel: Mapping[str, Any]) -> Iterator[str]:
    x, y = _scales(panel)
    yield f'<text class="t" x="{n(_LEFT)}" y="{n(_TOP - 12)}">{escaped(panel["title"])}</text>'
    for span in panel["spans"]:
        low, high = (min(max(span[name], x.low), x.high) for name in ("low", "high"))
        if x.shows(low) and high > low:
            yield f'<rect class="s" x="{n(x(low))}" y="{n(y.end)}" width="{n(x(high) - x(low))}"'
            yield f' height="{n(y.begin - y.end)}"><title>{escaped(span["name"])}</title></rect>'
    yield from _axes(panel, x, y)
    for number, line in enumerate(panel["lines"]):
        yield from _line(line, number % len(COLOURS), number >= len(COLOURS), x, y)
    yield from _legend(panel)


def _axes(panel: Mapping[str, Any], x: Scale, y: Scale) -> Iterator[str]:
    for tick in y.ticks():
        yield f'<path class="g" d="M{n(x.begin)} {n(y(tick))}H{n(x.end)}"/>'
        yield f'<text class="e" x="{n(x.begin - 6)}" y="{n(y(tick) + 4)}">{_told(tick)}</text>'
    for tick in x.ticks():
        yield f'<path class="g" d="M{n(x(tick))} {n(y.begin)}V{n(y.end)}"/>'
        yield f'<text class="m" x="{n(x(tick))}" y="{n(y.begin + 15)}">{_told(tick)}</text>'
    middle = (x.begin + x.end) / 2
    yield f'<text class="m" x="{n(middle)}" y="{n(y.begin + 32)}">{escaped(panel["x"])}</text>'
    up = (y.begin + y.end) / 2
    yield f'<text class="m" transform="translate(14 {n(up)}) rotate(-90)">{escaped(panel["y"])}</text>'


def _line(line: Mapping[str, Any], colour: int, again: bool, x: Scale, y: Scale) -> Iterator[str]:
    dashed = " d" if line["mark"] == "dashed" or again else ""
    shown = [[point for point in run] for run in _runs(line["points"], x, y)]
    yield f"<g><title>{escaped(line['name'])}</title>"
    for run in shown:
        places = [(x(p[0]), y(_clipped(p[1], y))) for p in run]
        ends = [(x(p[0]), y(_clipped(p[2], y)), y(_clipped(p[3], y))) for p in run if len(p) > 3]
        if len(ends) > 1:
            there = "L".join(f"{n(a)} {n(low)}" for a, low, _ in ends)
            back = "L".join(f"{n(a)} {n(high)}" for a, _, high in reversed(ends))
            yield f'<path class="b k{colour}" d="M{there}L{back}Z"/>'
        elif ends:
            yield f'<path class="l k{colour}" d="M{n(ends[0][0])} {n(ends[0][1])}V{n(ends[0][2])}"/>'
        if line["mark"] != "dots" and len(places) > 1:
            way = "L".join(f"{n(a)} {n(b)}" for a, b in places)
            yield f'<path class="l k{colour}{dashed}" d="M{way}"/>'
        if line["mark"] in ("dots", "both") or len(places) == 1:
            yield from (f'<circle class="k{colour}" cx="{n(a)}" cy="{n(b)}" r="2.6"/>' for a, b in places)
    yield "</g>"


def _runs(points: Sequence[Sequence[float | None]], x: Scale, y: Scale) -> Iterator[list[Sequence[float]]]:
    """Stretches of points that can be shown."""
    run: list[Sequence[float]] = []
    for point in points:
        if point[0] is not None and point[1] is not None and x.shows(point[0]) and y.shows(point[1]):
            run.append([point[1] if value is None else value for value in point])
        elif run:
            yield run
            run = []
    if run:
        yield run


def _clipped(value: float, scale: Scale) -> float:
    return min(max(value, scale.low), scale.high)


def _legend(panel: Mapping[str, Any]) -> Iterator[str]:
    for number, line in enumerate(panel["lines"]):
        x, y = _LEFT + (number % 2) * 180, HIGH + 4 + _ROW * (number // 2)
        dashed = " d" if line["mark"] == "dashed" or number >= len(COLOURS) else ""
        name = line["name"] if len(line["name"]) <= 28 else line["name"][:27] + "…"
        yield f'<path class="l k{number % len(COLOURS)}{dashed}" d="M{n(x)} {n(y - 4)}h16"/>'
        yield f'<text x="{n(x + 22)}" y="{n(y)}">{escaped(name)}</text>'


def _legend_rows(panel: Mapping[str, Any]) -> int:
    return -(-len(panel["lines"]) // 2)


def _scales(panel: Mapping[str, Any]) -> tuple[Scale, Scale]:
    points = [point for line in panel["lines"] for point in line["points"]]
    xs = [point[0] for point in points]
    ys = [value for point in points for value in point[1:2]]
    wide = [value for point in points for value in point[2:4]]
    across = _range(xs, panel["log_x"], 0.0)
    up = _range([*ys, *_near(wide, ys, panel["log_y"])], panel["log_y"], 0.05)
    return (
        Scale(*across, _LEFT, WIDE - _RIGHT, panel["log_x"]),
        Scale(*up, HIGH - _BOTTOM, _TOP, panel["log_y"]),
    )  # fmt: skip


def _near(wide: Sequence[float | None], ys: Sequence[float | None], log: bool) -> list[float]:
    """Ends of intervals as far as they do not dwarf the points themselves."""
    shown = [y for y in ys if y is not None and math.isfinite(y)]
    if not shown:
        return []
    room = max(shown) - min(shown) or abs(max(shown)) or 1.0
    low, high = (0.0 if log else min(shown) - room), max(shown) + room
    return [value for value in wide if value is not None and low < value < high]


def _range(values: Sequence[float | None], log: bool, margin: float) -> tuple[float, float]:
    """The ends of an axis: what is shown, a margin, and never nothing."""
    shown = [v for v in values if v is not None and math.isfinite(v) and (not log or v > 0)]
    if not shown:
        return (0.1, 10.0) if log else (0.0, 1.0)
    low, high = min(shown), max(shown)
    if log:
        return (low / 2, high * 2) if high / low < 1 + _ROOM else (low, high * (high / low) ** margin)
    if high - low <= _ROOM * max(abs(high), 1.0):
        return low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    return low - margin * (high - low), high + margin * (high - low)


def _round(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, thinned; within two decades 2 and 5 times them too."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / 6))
    parts = (1, 2, 5) if last - first <= 2 else (1,)
    found = [k * 10.0**power for power in range(first, last + 1, every) for k in parts]
    return [value for value in found if low * 0.999 <= value <= high * 1.001] or [low]


def _told(value: float) -> str:
    """A tick in few letters: 1e-05, 0.02, 50k."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.0e}"
    return f"{value / 1000:g}k" if size >= 1e4 else f"{round(value, 10):g}"
