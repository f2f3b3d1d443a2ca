"""Bytes as people read them."""

from typing import Final

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def amount(size: float) -> str:
    """`12.3 GiB`, `340 MiB`, `17 bytes`: the largest unit that leaves at least one."""
    number = max(0.0, float(size))
    for unit in _UNITS[:-1]:
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit in {"bytes", "KiB", "MiB"} else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} {_UNITS[-1]}"
