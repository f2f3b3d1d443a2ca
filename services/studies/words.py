"""Numbers in sentences."""

import math
from collections.abc import Sequence


def number(value: float) -> str:
    """Four digits at most, large and small numbers in the form that people read: 0.9712, 54,000, 1e-05."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "nothing"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def amount(value: float, half_width: float | None) -> str:
    """`0.971 ± 0.004`, the value with as many decimals as its uncertainty has, which keeps two digits."""
    if half_width is None or not math.isfinite(half_width):
        return number(value)
    if half_width == 0:
        return f"{number(value)} ± 0"
    decimals = max(0, 1 - math.floor(math.log10(half_width)))
    return f"{value:,.{decimals}f} ± {half_width:,.{decimals}f}"


def signed(value: float, half_width: float | None) -> str:
    """The same with a sign before it."""
    return ("+" if value >= 0 else "") + amount(value, half_width)


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def seconds(value: float) -> str:
    """`0.42 s`, `7 s`, `3 min 20 s`, `2 h 5 min`."""
    if value < 60:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
