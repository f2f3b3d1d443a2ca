"""How far the gradients of single batches scatter about their mean, at the weights of a moment.

With g₁ … g_K the gradients of K batches of b rows: the variance of a batch's gradient is
tr Σ_b = K/(K−1) · (mean |g|² − |mean g|²), and |G|² = |mean g|² − tr Σ_b / K without bias. `ratio` is √(tr Σ_b) / |G|,
`scale` the simple noise scale b · tr Σ_b / |G|² in rows (McCandlish, Kaplan, Amodei et al. 2018).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from kernels.philox import permutation
from services.plan import Plan
from services.train import Rows

MOST_BATCHES: Final = 64


def gradient_noise(plan: Plan, rows: Rows, seed: int) -> dict[str, Any]:
    """{"batch_size", "batches", "variance", "squared_norm", "ratio", "scale"}; the weights are left as they were.

    A single whole batch has no scatter: its `variance` and `ratio` are 0 and its `scale` None. The others are None
    where the mean gradient does not stand out from the scatter.
    """
    batch, count = plan.batch, min(MOST_BATCHES, rows.feed.rows // plan.batch)
    kept = plan.weights()
    plan.backend.put(rows.feed.order, permutation(rows.feed.rows, seed, 0).astype(np.int32))
    program = plan.gradient(rows.feed)
    total, squares = np.zeros(plan.w.shape, np.float64), 0.0
    for k in range(count):
        plan.set_clock(k, k)
        program.run()
        g = plan.backend.get(plan.dw).astype(np.float64)
        total += g
        squares += float(g @ g)
    plan.load_weights(kept)
    return told(batch, count, float(total @ total), squares)


def told(batch: int, count: int, total: float, squares: float) -> dict[str, Any]:
    """The estimates from |Σ g|² and Σ |g|² of `count` batches."""
    mean = total / count**2
    variance = max(0.0, (squares / count - mean) * count / (count - 1)) if count > 1 else 0.0
    norm = mean - variance / count
    sure = norm > 0 and math.isfinite(norm)
    return {
        "batch_size": batch,
        "batches": count,
        "variance": variance,
        "squared_norm": max(0.0, norm),
        "ratio": math.sqrt(variance / norm) if sure else None,
        "scale": batch * variance / norm if sure and count > 1 else None,
    }
