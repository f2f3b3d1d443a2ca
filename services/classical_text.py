"""What a language model must beat: how often symbols occur, and how often they follow one another.

An n-gram model guesses the next symbol from the n − 1 before it by counting. Rare contexts are mixed with shorter ones,
p = λ·count/total + (1 − λ)·p of the shorter context (Jelinek, Mercer 1980), with the λ that does best on the validation
part.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.datasets import Dataset, Part

Array = npt.NDArray[Any]

MOST_CELLS: Final = 2**22
"""Numbers that a table of counts may hold; longer contexts are left out where they would need more."""
_SHARES: Final = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
_NAMES: Final = {2: "pairs of symbols", 3: "triples of symbols", 4: "quadruples of symbols"}


def text_baseline(dataset: Dataset, seconds: float = 10.0) -> dict[str, Any]:
    """Nats for each symbol of the test part, like `services.baseline.baseline`; `seconds` stop the lengthening of n."""
    start = time.monotonic()
    size = int(dataset.card.vocabulary or 0)
    judged = dataset.validation if len(dataset.validation) else dataset.train
    counts = np.bincount(dataset.train.y.ravel(), minlength=size) + 1.0
    single = counts / counts.sum()
    tables: list[tuple[Array, float]] = []
    tried: list[dict[str, Any]] = []
    for n, name in _NAMES.items():
        if size**n > MOST_CELLS or time.monotonic() - start > seconds:
            break
        began = time.monotonic()
        table = _counted(dataset.train, size, n)
        losses = {share: _loss(_chances(judged, size, single, [*tables, (table, share)])) for share in _SHARES}
        share = min(losses, key=lambda one: losses[one])
        tables.append((table, share))
        took = round(time.monotonic() - began, 3)
        row = {"name": name, "rows": len(dataset.train), "seconds": took, "validation_score": losses[share]}
        tried.append(row | _judge(_chances(dataset.test, size, single, tables)))
    return {
        "metric": "loss",
        "better": "min",
        "trivial": {"name": "frequencies of symbols", "guess": None} | _judge(single[dataset.test.y.ravel()]),
        "best": min(tried, key=lambda one: one["validation_score"], default=None),
        "tried": tried,
        "seconds": round(time.monotonic() - start, 3),
    }


def _judge(chances: Array) -> dict[str, Any]:
    loss = _loss(chances)
    return {"score": loss, "scores": {"loss": loss, "perplexity": float(np.exp(loss))}}


def _loss(chances: Array) -> float:
    return float(-np.log(chances).mean())


def _context(part: Part, size: int, n: int) -> tuple[Array, Array]:
    """The number of the n − 1 symbols before each symbol, and whether a row holds that many."""
    x = part.x.astype(np.int64)
    code, there = np.zeros_like(x), np.ones(x.shape, bool)
    for back in range(n - 1):
        before = np.zeros_like(x)
        before[:, back:] = x[:, : x.shape[1] - back]
        code += before * size**back
        there[:, :back] = False
    return code.ravel(), there.ravel()


def _counted(part: Part, size: int, n: int) -> Array:
    """How often each symbol follows each context, (size ** (n − 1), size)."""
    code, there = _context(part, size, n)
    flat = code[there] * size + part.y.ravel()[there]
    return np.bincount(flat, minlength=size**n).reshape(-1, size).astype(np.float64)


def _chances(part: Part, size: int, single: Array, tables: list[tuple[Array, float]]) -> Array:
    """The chance that was given to each symbol that came."""
    y = part.y.ravel()
    chances: Array = single[y]
    for k, (table, share) in enumerate(tables):
        code, there = _context(part, size, k + 2)
        total = table.sum(axis=1)[code]
        mixed = np.where(total > 0, share * table[code, y] / np.maximum(total, 1) + (1 - share) * chances, chances)
        chances = np.where(there, mixed, chances)
    return chances
