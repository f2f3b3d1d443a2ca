"""SVG as text: escaped, without scripts, with one fixed style that a Content-Security-Policy can name by its hash."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from services.drawing.arrange import Box, Point, Way
from services.drawing.reading import Item
from services.drawing.words import LINE, lines, name

STYLE: Final = (
    ":root{--card:#fffdf9;--ink:#1c2733;--soft:#5c6672;--learn:#2563b8;--wash:#dfe9f7;--still:#efece3;--edge:#8a8f94;"
    "--noise:#9a6700}"
    "@media(prefers-color-scheme:dark){:root{--card:#18202a;--ink:#e8e6df;--soft:#9aa7b4;--learn:#7db3ff;--wash:#1f3a5c;"
    "--still:#232d38;--edge:#75818d;--noise:#e9bd55}}"
    "text{font:10px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;fill:var(--soft);"
    "text-anchor:middle}"
    ".n{font-size:11px;font-weight:600;fill:var(--ink)}.i{font-size:14px;font-weight:600;fill:var(--ink)}"
    ".p{fill:var(--card)}.g{stroke:var(--edge);fill:var(--still);stroke-linejoin:round;stroke-linecap:round}"
    ".g.l{stroke:var(--learn);fill:var(--wash)}.g.d{stroke:var(--noise)}"
    ".o{fill:none}.l .f,.f.l{fill:var(--learn)}.f{fill:var(--edge)}.d .f{fill:var(--noise)}.q{stroke-dasharray:2.5 2.5}"
    ".b{stroke-width:1.6;fill:none}.w{fill:none;stroke:var(--soft);stroke-width:1.3}.a{fill:var(--soft)}"
    ".m{fill:none;stroke:var(--edge);stroke-width:.6;opacity:.55}.c{fill:none;stroke:var(--learn);stroke-width:.9}"
    ".h{stroke:none;opacity:.35}"
)
POLICY: Final = (
    "default-src 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; sandbox; frame-ancestors 'none'"
)
"""The strictest policy under which the picture looks as it should: its own style, and nothing else at all."""

RADIUS = 6.0
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}


def escaped(text: str) -> str:
    """Text that is only text, in an element or an attribute, and that XML allows at all."""
    return re.sub("[&<>\"']", lambda found: _NAMED[found[0]], _NOT_XML.sub("\ufffd", text))


def n(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0") if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0")
    )


def document(title: str, description: str, width: float, height: float, parts: Sequence[str]) -> str:
    """The whole file."""
    w, h = math.ceil(width), math.ceil(height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img"'
        f' aria-labelledby="title desc"><title id="title">{escaped(title)}</title>'
        f'<desc id="desc">{escaped(description)}</desc><style>{STYLE}</style>'
        f'<rect class="p" width="{w}" height="{h}" rx="10"/>\n' + "\n".join(filter(None, parts)) + "\n</svg>\n"
    )


def label(item: Item, box: Box, glyph: str) -> str:
    """An item: its glyph, and its words below."""
    names = 0 if item.type == "elided" else len(name(item))
    words = "".join(
        f'<text{" class=" + chr(34) + "n" + chr(34) if k < names else ""} x="{n(box.middle)}"'
        f' y="{n(box.words + LINE * (k + 1) - 3)}">{escaped(line)}</text>'
        for k, line in enumerate(lines(item))
    )
    return f"<g><title>{escaped(item.told)}</title>{glyph}{words}</g>"


def way(found: Way, *, meshed: bool) -> str:
    """A connection with its arrow head; only the head where neurons are connected one by one."""
    x, y = found.points[-1]
    head = f'<path class="a" d="M{n(x - 6)} {n(y - 3.5)}L{n(x)} {n(y)}l-6 3.5z"/>'
    return "" if meshed else f'<path class="w" d="{_path([*found.points[:-1], (x - 5, y)])}"/>{head}'


def _path(points: Sequence[Point]) -> str:
    """Straight along a lane, a soft curve from lane to lane, round corners."""
    told = [f"M{n(points[0][0])} {n(points[0][1])}"]
    for number, (here, there) in enumerate(pairwise(points)):
        if here[0] != there[0] and here[1] != there[1]:
            middle = n((here[0] + there[0]) / 2)
            told.append(f"C{middle} {n(here[1])} {middle} {n(there[1])} {n(there[0])} {n(there[1])}")
            continue
        after = points[number + 2] if number + 2 < len(points) else None
        told.append(_line(here, there, after))
    return "".join(told)


def _line(here: Point, there: Point, after: Point | None) -> str:
    """To `there`; round its corner where the way turns by a right angle."""
    turns = after is not None and (here[0] == there[0]) != (there[0] == after[0]) and (
        there[0] == after[0] or there[1] == after[1]
    )  # fmt: skip
    if after is None or not turns:
        return f"L{n(there[0])} {n(there[1])}"
    radius = min(RADIUS, math.dist(here, there) / 2, math.dist(there, after) / 2)
    begin, end = _towards(there, here, radius), _towards(there, after, radius)
    return f"L{n(begin[0])} {n(begin[1])}Q{n(there[0])} {n(there[1])} {n(end[0])} {n(end[1])}"


def _towards(point: Point, other: Point, by: float) -> Point:
    apart = math.dist(point, other)
    if apart == 0:
        return point
    return point[0] + (other[0] - point[0]) * by / apart, point[1] + (other[1] - point[1]) * by / apart
