"""What joins two glyphs side by side: every neuron to every neuron, or a filter's window to the number it makes."""

from __future__ import annotations

from services.drawing.arrange import Picture
from services.drawing.glyphs import RADIUS, column, form, front
from services.drawing.reading import Item
from services.drawing.svg import n

FANNED = 7
"""At most so many neurons of a column are connected in the picture."""
_WINDOW = (0.52, 0.14)
"""Where the window lies on a feature map, as shares of its sides."""


def joined(found: Picture, source: int, target: int) -> str:
    """The joint of a connection, or nothing where an arrow says enough."""
    here, there = found.items[source], found.items[target]
    if not found.ways[source, target].straight:
        return ""
    if there.type == "dense" and len(there.shape) == 1 and form(here) in ("neurons", "flatten"):
        return _mesh(found, source, target)
    if form(here) == form(there) == "sheets" and _slides(there):
        return _window(found, source, target)
    return ""


def _slides(item: Item) -> bool:
    return "conv2d" in item.type or item.type.endswith("pooling2d")


def _mesh(found: Picture, source: int, target: int) -> str:
    """Lines from all to all, as many as can be told apart."""
    a, b = found.boxes[source], found.boxes[target]
    left, right = a.middle + a.glyph[0] / 2 - 1, b.middle - RADIUS
    ends = [b.axis + place for place in _some(column(found.items[target])[0])]
    lines = "".join(
        f"M{n(left)} {n(y)}" + f"M{n(left)} {n(y)}".join(f"L{n(right)} {n(end)}" for end in ends)
        for y in _starts(found, source)
    )
    return f'<path class="m" d="{lines}"/>'


def _starts(found: Picture, number: int) -> list[float]:
    item, box = found.items[number], found.boxes[number]
    if form(item) == "neurons":
        return [box.axis + place for place in _some(column(item)[0])]
    reach = box.glyph[1] - 10
    return [box.axis + reach * (k / (FANNED - 1) - 0.5) for k in range(FANNED)]


def _some(places: list[float]) -> list[float]:
    """The outer ones of many."""
    return places if len(places) <= FANNED else places[: FANNED // 2] + places[-(FANNED - FANNED // 2) :]


def _window(found: Picture, source: int, target: int) -> str:
    """The window on the maps before, and lines to the point that it makes; the other way round for a transposed one."""
    numbers = (target, source) if found.items[target].type == "conv2d_transpose" else (source, target)
    (wide, narrow) = (found.items[k] for k in numbers)
    (a, b) = (found.boxes[k] for k in numbers)
    left, top, w, h = front(wide, a.middle, a.axis)
    kernel = found.items[target].settings.get("kernel_size", found.items[target].settings.get("pool_size", 2))
    tall, broad = kernel if isinstance(kernel, list | tuple) else (kernel, kernel)
    side_w, side_h = _share(broad, wide.shape[1]) * w, _share(tall, wide.shape[0]) * h
    x, y = left + _WINDOW[0] * (w - side_w), top + _WINDOW[1] * (h - side_h)
    to_left, to_top, to_w, to_h = front(narrow, b.middle, b.axis)
    px, py = to_left + 0.5 * to_w, to_top + 0.2 * to_h
    edge = x + side_w if px > x else x
    lines = f"M{n(edge)} {n(y)}L{n(px)} {n(py)}L{n(edge)} {n(y + side_h)}"
    window = f'<rect class="c" x="{n(x)}" y="{n(y)}" width="{n(side_w)}" height="{n(side_h)}"/>'
    return f'{window}<path class="c" d="{lines}"/><circle class="f l" cx="{n(px)}" cy="{n(py)}" r="1.6"/>'


def _share(kernel: int, side: int) -> float:
    """How much of a side the window covers; never too little to be seen."""
    return min(1.0, max(0.16, kernel / max(1, side)))
