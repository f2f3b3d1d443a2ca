"""The words below a glyph: name, arguments, shape and weights, in short lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.drawing.reading import Item, dimensions

LINE = 13.0
"""Height of a line of words."""
NAME_LINES, CHARACTERS = 3, 15
_CHARACTER = 6.3


def width(line: str) -> float:
    """About how wide a line is, rather too much than too little."""
    return _CHARACTER * len(line) + 2


def lines(item: Item) -> list[str]:
    """All lines; the first `len(name(item))` of them are the name."""
    if item.type == "elided":
        return [f"{item.layers} layers", *_weights(item)]
    told = [arguments(item), item.activation or "", dimensions(item.shape)]
    return [*name(item), *(line for line in told if line), *_weights(item)]


def name(item: Item) -> list[str]:
    """The name, broken after underscores where it is long."""
    pieces, found = item.name.replace("_", "_ ").split(" "), [""]
    for piece in pieces:
        if found[-1] and len(found[-1]) + len(piece) > CHARACTERS:
            found.append("")
        found[-1] += piece
    found = [line[at : at + CHARACTERS] for line in found for at in range(0, len(line), CHARACTERS)]
    return found if len(found) <= NAME_LINES else [*found[: NAME_LINES - 1], f"{found[NAME_LINES - 1][:-1]}…"]


def arguments(item: Item) -> str:
    """What a reader wants to know of a layer's arguments: kernel, stride, rate."""
    found = item.settings
    kernel = found.get("kernel_size", found.get("pool_size"))
    flat = isinstance(kernel, int) and "2d" in item.type
    told = [f"{kernel}×{kernel}" if flat else _sides(kernel)] if kernel is not None else []
    if (stride := found.get("strides")) not in (None, 1, kernel, [1, 1], (1, 1)):
        told.append(f"step {_sides(stride).split('×')[0]}")
    told += [f"{word}{_brief(found, key)}" for key, word in _TOLD.items() if found.get(key) not in (None, 1)]
    return " ".join(told)[:CHARACTERS]


_TOLD = {"rate": "rate ", "stddev": "σ ", "num_heads": "heads ", "groups": "groups ", "size": "×"}


def _brief(found: Mapping[str, Any], key: str) -> str:
    value = found[key]
    return f"{value:.6g}" if isinstance(value, float) else _sides(value)


def _sides(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _weights(item: Item) -> list[str]:
    return [f"{item.parameters:,} weights"] if item.parameters else []
