"""What a prediction may be asked for beside its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

from services.writing import LENGTH, TEMPERATURE

MAX_LENGTH = 2000
"""Symbols that one answer of a language model may have."""


@final
@dataclass(frozen=True)
class Wishes:
    """`layer`: the output of this layer (name or number) instead of the network's. `state`: the rows are pieces of
    longer sequences; "new" begins them, and what an answer gave as `state` goes on. The rest is for language models:
    how many symbols to write, how boldly, and which of the many texts."""

    layer: str | int | None = None
    state: Literal["new"] | list[Any] | None = None
    length: int = LENGTH
    temperature: float = TEMPERATURE
    seed: int = 0
