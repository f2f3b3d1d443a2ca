"""Small signs: the curve of an activation, a bell, a plus, a cell that feeds itself, unrolled in time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from services.drawing.svg import n

SIZE: Final = (38.0, 38.0)
RECURRENT_SIZE: Final = (124.0, 62.0)
_HALF, _REACH = 13.0, 4.0

CURVES: Final[dict[str, Callable[[float], float]]] = {
    "linear": lambda z: z / _REACH,
    "relu": lambda z: max(0.0, z) / _REACH,
    "leaky_relu": lambda z: (z if z > 0 else 0.2 * z) / _REACH,
    "elu": lambda z: (z if z > 0 else 1.2 * (math.exp(z) - 1)) / _REACH,
    "gelu": lambda z: z * 0.5 * (1 + math.erf(z / math.sqrt(2))) / _REACH,
    "silu": lambda z: z / (1 + math.exp(-z)) / _REACH,
    "sigmoid": lambda z: 2 / (1 + math.exp(-1.5 * z)) - 1,
    "tanh": math.tanh,
    "step": lambda z: 1.0 if z > 0 else -1.0,
    "softmax": math.tanh,
}
"""Activations as they are drawn, from −4 to 4; each fills the height it has."""


def sign(name: str, x: float, y: float) -> str:
    """The sign `name` in its frame; a name that is no sign is written."""
    if name == "dots":
        return dots(x, y, upright=False)
    if name in "+−×":
        return f'<circle cx="{n(x)}" cy="{n(y)}" r="12"/><text class="i" x="{n(x)}" y="{n(y + 5)}">{name}</text>'
    framed = f'<rect x="{n(x - 17)}" y="{n(y - 17)}" width="34" height="34" rx="7"/>'
    return framed + (_INSIDE[name](x, y) if name in _INSIDE else curve(name, x, y))


def curve(name: str, x: float, y: float) -> str:
    """An activation's graph; bars for softmax, whose outputs are shares of one."""
    if name == "softmax":
        return "".join(
            f'<rect class="f" x="{n(x - 12 + 7 * k)}" y="{n(y + 12 - h)}" width="4.5" height="{h}"/>'
            for k, h in enumerate((5, 22, 3, 8))
        )
    steps = [-_REACH + 2 * _REACH * k / 16 for k in range(17)] if name != "step" else [-_REACH, -0.01, 0.01, _REACH]
    points = [(x + z / _REACH * _HALF, y - CURVES[name](z) * _HALF * 0.85) for z in steps]
    return f'<path class="b" d="M{"L".join(f"{n(a)} {n(b)}" for a, b in points)}"/>'


def _bell(x: float, y: float) -> str:
    points = [(x + z * 5, y + 10 - 19 * math.exp(-z * z / 2)) for z in [k / 4 - 2.5 for k in range(21)]]
    return f'<path class="b" d="M{"L".join(f"{n(a)} {n(b)}" for a, b in points)}"/>'


def _waves(x: float, y: float) -> str:
    waves = [
        "L".join(f"{n(x - 13 + k)} {n(y + dy - 5 * math.sin(k * f))}" for k in range(27))
        for dy, f in ((-6, 0.24), (7, 0.6))
    ]
    return f'<path class="b" d="M{waves[0]}M{waves[1]}"/>'


def _table(x: float, y: float) -> str:
    rows = "".join(f"M{n(x - 12)} {n(y - 12 + 6 * k)}h24" for k in range(5))
    return f'<rect class="f" x="{n(x - 12)}" y="{n(y - 6)}" width="24" height="6"/><path class="o" d="{rows}"/>'


def _joined(x: float, y: float) -> str:
    return f'<path class="b" d="M{n(x - 4)} {n(y - 11)}v22M{n(x + 4)} {n(y - 11)}v22"/>'


def _attention(x: float, y: float) -> str:
    """Who looks at whom: mostly at itself and its neighbours."""
    cells = "".join(f"M{n(x - 13 + 5.4 * j)} {n(y - 13 + 5.4 * i)}h4.4v4.4h-4.4z" for i in range(5) for j in range(5))
    strong = "".join(
        f"M{n(x - 13 + 5.4 * j)} {n(y - 13 + 5.4 * i)}h4.4v4.4h-4.4z" for i, j in enumerate((0, 0, 2, 1, 4))
    )
    return f'<path class="f h" d="{cells}"/><path class="f" d="{strong}"/>'


_INSIDE: Final[dict[str, Callable[[float, float], str]]] = {
    "bell": _bell, "waves": _waves, "table": _table, "‖": _joined, "attention": _attention,
}  # fmt: skip


def dots(x: float, y: float, *, upright: bool) -> str:
    """And so on."""
    return "".join(
        f'<circle class="f" cx="{n(x + (0 if upright else d))}" cy="{n(y + (d if upright else 0))}" r="1.2"/>'
        for d in ((-3.6, 0, 3.6) if upright else (-6, 0, 6))
    )


def cross(x: float, y: float, reach: float) -> str:
    """Left out for once."""
    strokes = f"l{n(2 * reach)} {n(2 * reach)}m0 {n(-2 * reach)}l{n(-2 * reach)} {n(2 * reach)}"
    return f'<path class="o" d="M{n(x - reach)} {n(y - reach)}{strokes}"/>'


def grid(left: float, top: float, w: float, h: float, *, filled: bool) -> str:
    """Windows on a feature map; of the first, the cell that is kept."""
    lines = "".join(f"M{n(left + w * k / 4)} {n(top)}v{n(h)}M{n(left)} {n(top + h * k / 4)}h{n(w)}" for k in (1, 2, 3))
    kept = f'<rect class="f" x="{n(left + w / 4)}" y="{n(top)}" width="{n(w / 4)}" height="{n(h / 4)}"/>'
    return f'{kept if filled else ""}<path class="o" d="{lines}"/>'


def speckles(left: float, top: float, w: float, h: float) -> str:
    """Noise, the same in every picture."""
    places = [((k * 0.7549) % 1, (k * 0.5698) % 1) for k in range(1, 23)]
    return "".join(
        f'<circle class="f" cx="{n(left + 2 + u * (w - 4))}" cy="{n(top + 2 + v * (h - 4))}" r="1.1"/>'
        for u, v in places
    )


def unrolled(x: float, y: float, *, every: bool, both: bool) -> str:
    """A cell with its loop, and the same cell three times in a row: what it remembers goes from step to step."""
    loop = (
        f'<path class="b" d="M{n(x - 44)} {n(y - 4)}v-6c0 -13 -17 -13 -17 0v3"/>'
        f'<path class="f" d="M{n(x - 64)} {n(y - 9)}h6l-3 5z"/>'
    )
    cell = f'<rect x="{n(x - 62)}" y="{n(y - 4)}" width="20" height="20" rx="5"/>{_up(x - 52, y + 29, 10)}'
    same = f'<path class="o" d="M{n(x - 36)} {n(y + 4)}h7m-7 4h7"/>'
    steps = "".join(_step(x - 22 + 32 * k, y, k, every=every or k == 2, both=both) for k in range(3))
    return loop + cell + same + steps


def _step(x: float, y: float, k: int, *, every: bool, both: bool) -> str:
    across = _across(x + 20, y + (3 if both else 6), 12) + (_back(x + 20, y + 10, 12) if both else "") if k < 2 else ""
    between = dots(x + 26, y - 6, upright=False) if k == 1 else ""
    cell = f'<rect x="{n(x)}" y="{n(y - 4)}" width="20" height="20" rx="5"/>{_up(x + 10, y + 29, 10)}'
    return cell + across + between + (_up(x + 10, y - 5, 14) if every else "")


def _up(x: float, y: float, by: float) -> str:
    return (
        f'<path class="b" d="M{n(x)} {n(y)}v{n(-by)}"/><path class="f" d="M{n(x - 2.5)} {n(y - by + 3)}h5l-2.5 -5z"/>'
    )


def _across(x: float, y: float, by: float) -> str:
    return (
        f'<path class="b" d="M{n(x)} {n(y)}h{n(by - 2)}"/><path class="f" d="M{n(x + by - 5)} {n(y - 2.5)}v5l5 -2.5z"/>'
    )


def _back(x: float, y: float, by: float) -> str:
    head = f'<path class="f" d="M{n(x + 5)} {n(y - 2.5)}v5l-5 -2.5z"/>'
    return f'<path class="b" d="M{n(x + by)} {n(y)}h{n(2 - by)}"/>{head}'
