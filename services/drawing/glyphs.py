"""What a layer looks like: feature maps as sheets, neurons in columns, cells that feed themselves, and so on.

Sizes follow shapes on a log scale, so that the bottleneck of an auto-encoder is seen to be narrow. Every glyph is
drawn about the middle of its box.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from services.drawing import signs
from services.drawing.reading import Item
from services.drawing.svg import n

Size = tuple[float, float]

RADIUS, PITCH = 4.5, 12.0
SHEET_STEP, MOST_SHEETS = 4.0, 8
FEWEST_ALL = 5
"""Up to so many neurons are all drawn."""

RECURRENT: Final = frozenset({"simple_rnn", "lstm", "gru"})
NOISY: Final = frozenset({"dropout", "gaussian_noise"})
SMALL: Final = {
    "batch_normalization": "bell", "layer_normalization": "bell", "positional_encoding": "waves", "add": "+",
    "multiply": "×", "subtract": "−", "concatenate": "‖", "multi_head_attention": "attention", "embedding": "table",
    "position_embedding": "table", "elided": "dots",
}  # fmt: skip


def form(item: Item) -> str:
    """Which kind of glyph an item has."""
    if item.type in signs.CURVES or item.type in SMALL:
        return "sign"
    if item.type in RECURRENT:
        return "recurrent"
    if item.type.startswith("global_"):
        return "funnel"
    if item.type in ("flatten", "words"):
        return item.type
    return {3: "sheets", 2: "strip"}.get(len(item.shape), "neurons")


def size(item: Item) -> Size:
    """Width and height of an item's glyph."""
    return _SIZES[form(item)](item)


def glyph(item: Item, x: float, y: float) -> str:
    """An item drawn about (x, y)."""
    chance = item.type in NOISY or item.type.startswith("random_")
    colour = " l" if item.learns else " d" if chance else ""
    dashed = " q" if chance else ""
    return f'<g class="g{colour}{dashed}">{_GLYPHS[form(item)](item, x, y)}</g>'


def sheet(item: Item) -> tuple[float, float, int]:
    """Width and height of one feature map in the picture, and how many are drawn."""
    height, width, channels = item.shape
    return _side(width), _side(height), channels if channels <= 3 else min(MOST_SHEETS, 1 + round(math.log2(channels)))


def front(item: Item, x: float, y: float) -> tuple[float, float, float, float]:
    """Left, top, width and height of the foremost feature map."""
    w, h, count = sheet(item)
    deep = SHEET_STEP * (count - 1)
    return x - (w + deep) / 2, y - (h + deep) / 2 + deep, w, h


def column(item: Item) -> tuple[list[float], bool]:
    """The heights of a column's neurons about its middle, and whether some between them are left out."""
    count = item.shape[-1] if item.shape else 1
    if count <= FEWEST_ALL:
        return [PITCH * (k - (count - 1) / 2) for k in range(count)], False
    slots = 1 + int((_tall(count) - 2 * RADIUS) // PITCH)
    places = [PITCH * (k - (slots - 1) / 2) for k in range(slots)]
    return [place for k, place in enumerate(places) if k != slots // 2], True


def _side(length: int) -> float:
    return max(10.0, min(92.0, 14 * math.log2(max(1, length)) - 4))


def _tall(count: int) -> float:
    """How tall a vector is: every neuron at first, then ten more pixels for twice as many."""
    return min(160.0, PITCH * min(count, FEWEST_ALL) + 11 * max(0.0, math.log2(max(1, count) / FEWEST_ALL)))


def _sheets_size(item: Item) -> Size:
    w, h, count = sheet(item)
    return w + SHEET_STEP * (count - 1), h + SHEET_STEP * (count - 1)


def _strip_size(item: Item) -> Size:
    steps, features = item.shape
    if item.type == "dense":
        return 2 * RADIUS + 2 + 2 * SHEET_STEP, _neurons_height(item) + 2 * SHEET_STEP
    return max(24.0, _side(steps)), min(84.0, 8 + 8 * math.log2(max(1, features)))


def _neurons_height(item: Item) -> float:
    places, _ = column(item)
    return places[-1] - places[0] + 2 * RADIUS + 2


_SIZES: Final[dict[str, Callable[[Item], Size]]] = {
    "sign": lambda item: signs.SIZE,
    "recurrent": lambda item: signs.RECURRENT_SIZE,
    "funnel": lambda item: (30.0, min(70.0, _tall(item.shape[-1]))),
    "flatten": lambda item: (12.0, _tall(math.prod(item.shape))),
    "words": lambda item: (84.0, 18.0),
    "sheets": _sheets_size,
    "strip": _strip_size,
    "neurons": lambda item: (2 * RADIUS + 2, _neurons_height(item)),
}


def _sheets(item: Item, x: float, y: float) -> str:
    left, top, w, h = front(item, x, y)
    _, _, count = sheet(item)
    drawn = "".join(
        f'<rect x="{n(left + SHEET_STEP * k)}" y="{n(top - SHEET_STEP * k)}" width="{n(w)}" height="{n(h)}" rx="2"/>'
        for k in reversed(range(count))
    )
    if "pooling" in item.type or item.type.startswith("upsampling"):
        return drawn + signs.grid(left, top, w, h, filled="pooling" in item.type)
    if item.type == "zero_padding2d":
        return drawn + f'<rect class="o q" x="{n(left + 4)}" y="{n(top + 4)}" width="{n(w - 8)}" height="{n(h - 8)}"/>'
    if item.type in NOISY:
        return drawn + signs.speckles(left, top, w, h)
    return drawn


def _strip(item: Item, x: float, y: float) -> str:
    if item.type == "dense":
        return "".join(_neurons(item, x + SHEET_STEP * k, y - SHEET_STEP * k) for k in (1, 0, -1))
    w, h = _strip_size(item)
    left, top, parts = x - w / 2, y - h / 2, min(item.shape[0], 8)
    bars = "".join(f"M{n(left + w * k / parts)} {n(top)}v{n(h)}" for k in range(1, parts))
    drawn = f'<rect x="{n(left)}" y="{n(top)}" width="{n(w)}" height="{n(h)}" rx="2"/><path class="o" d="{bars}"/>'
    return drawn + (signs.speckles(left, top, w, h) if item.type in NOISY else "")


def _neurons(item: Item, x: float, y: float) -> str:
    places, more = column(item)
    dropped = item.type == "dropout"
    drawn = "".join(
        f'<circle{_gone(k) if dropped else ""} cx="{n(x)}" cy="{n(y + place)}" r="{RADIUS}"/>'
        for k, place in enumerate(places)
    )
    crosses = "".join(signs.cross(x, y + place, 2.2) for k, place in enumerate(places) if dropped and k % 3 == 1)
    return drawn + crosses + (signs.dots(x, _missing(places) + y, upright=True) if more else "")


def _gone(k: int) -> str:
    return ' class="o"' if k % 3 == 1 else ""


def _missing(places: list[float]) -> float:
    """Where the neurons that are left out would be."""
    return next(a + PITCH for a, b in pairwise(places) if b - a > 1.5 * PITCH)


def _flatten(item: Item, x: float, y: float) -> str:
    h = _tall(math.prod(item.shape))
    parts = max(2, min(math.prod(item.shape), int(h // 7)))
    bars = "".join(f"M{n(x - 6)} {n(y - h / 2 + h * k / parts)}h12" for k in range(1, parts))
    return f'<rect x="{n(x - 6)}" y="{n(y - h / 2)}" width="12" height="{n(h)}" rx="2"/><path class="o" d="{bars}"/>'


def _words(item: Item, x: float, y: float) -> str:
    boxes = "".join(
        f'<rect x="{n(x - 42 + 17 * k)}" y="{n(y - 7)}" width="14" height="14" rx="2"/>' for k in (0, 1, 2, 4)
    )
    return boxes + signs.dots(x + 16, y, upright=False)


def _funnel(item: Item, x: float, y: float) -> str:
    h = min(70.0, _tall(item.shape[-1]))
    mean = f'<path class="o" d="M{n(x - 9)} {n(y)}h18"/>' if "average" in item.type else ""
    dot = "" if mean else f'<circle class="f" cx="{n(x - 2)}" cy="{n(y)}" r="3"/>'
    sides = f"M{n(x - 15)} {n(y - h / 2)}L{n(x + 15)} {n(y - h / 6)}v{n(h / 3)}L{n(x - 15)} {n(y + h / 2)}z"
    return f'<path d="{sides}"/>{mean}{dot}'


def _sign(item: Item, x: float, y: float) -> str:
    return signs.sign(SMALL.get(item.type, item.type), x, y)


def _recurrent(item: Item, x: float, y: float) -> str:
    return signs.unrolled(
        x, y, every=bool(item.settings.get("return_sequences")), both=bool(item.settings.get("bidirectional"))
    )


_GLYPHS: Final[dict[str, Callable[[Item, float, float], str]]] = {
    "sign": _sign,
    "recurrent": _recurrent,
    "funnel": _funnel,
    "flatten": _flatten,
    "words": _words,
    "sheets": _sheets,
    "strip": _strip,
    "neurons": _neurons,
}
