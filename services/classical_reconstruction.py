"""What an auto-encoder must beat: PCA with as many components as its bottleneck; for noise, a classical filter.

Of several filters, validation rows (train rows where there are none) choose one, and the test rows judge it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from services.datasets import Card
from services.datasets.sound import STEP, inverse_stft, stft
from services.reconstruction import is_sound, measure_of, quality

Array = npt.NDArray[Any]
Filter = Callable[[Array], Array]

ROWS_TO_CHOOSE = 500
_FIRST_ROWS, _GROWTH = 1_000, 4
_LONG_RECORDING = 4 * STEP


@final
@dataclass(frozen=True)
class Seen:
    """Rows of a part as the network sees them, and as they should be."""

    x: Array
    clean: Array

    def head(self, rows: int) -> Seen:
        """The first rows."""
        return Seen(self.x[:rows], self.clean[:rows])


def reconstruction_baseline(
    card: Card, train: Seen, judged: Seen, test: Seen, components: int, noisy: bool, seconds: float = 10.0
) -> dict[str, Any]:
    """The trivial and the best classical score in dB on the test rows, found within about `seconds`; like
    `services.baseline.baseline`."""
    start = time.monotonic()
    filters = dict(_filters(card)) if noisy else {}
    trivial = ("noisy input", test.x) if noisy else ("mean row", _mean_row(train, test))
    tried: list[dict[str, Any]] = []
    for name, smooth in filters.items():
        few, began = judged.head(ROWS_TO_CHOOSE), time.monotonic()
        if began - start > seconds:
            break
        score = quality(card, smooth(few.x), few.clean)
        tried.append({"name": name, "rows": len(few.x), "validation_score": score} | _since(began))
    if not filters:
        tried = [*_pca_fits(card, train, judged, components, seconds)]
    best = max(tried, key=lambda one: one["validation_score"], default=None)
    if best is not None:
        made = filters[str(best["name"])](test.x) if filters else best["model"](test.x)
        best = best | _score(card, made, test)
    return {
        "metric": measure_of(card),
        "better": "max",
        "trivial": {"name": trivial[0], "guess": None} | _score(card, trivial[1], test),
        "best": best and _plain(best),
        "tried": [_plain(one) for one in tried],
    } | _since(start)


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "model"}


def _since(began: float) -> dict[str, float]:
    return {"seconds": round(time.monotonic() - began, 3)}


def _score(card: Card, made: Array, test: Seen) -> dict[str, Any]:
    found = quality(card, made, test.clean)
    return {"score": found, "scores": {measure_of(card): found}}


def _mean_row(train: Seen, test: Seen) -> Array:
    mean = train.clean.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.broadcast_to(mean, test.clean.shape)


def _pca_fits(card: Card, train: Seen, judged: Seen, components: int, seconds: float) -> Iterator[dict[str, Any]]:
    """PCA of 1,000 rows, then of four times as many, and so on while the time allows."""
    start, rows = time.monotonic(), min(_FIRST_ROWS, len(train.x))
    while True:
        began = time.monotonic()
        found = _pca(card, train.head(rows), judged.head(ROWS_TO_CHOOSE), components)
        spent, more = time.monotonic() - began, min(rows * _GROWTH, len(train.x))
        if more == rows or time.monotonic() - start + 1.5 * spent * more / rows > seconds:
            yield found | _since(began)
            return
        rows = more


def _pca(card: Card, train: Seen, judged: Seen, components: int) -> dict[str, Any]:
    """Learnt from clean rows; judged on what it makes of the rows that a network would see."""
    from sklearn.decomposition import PCA

    flat = train.clean.reshape(len(train.clean), -1)
    k = max(1, min(components, *flat.shape))
    solver = "covariance_eigh" if flat.shape[1] <= 1024 else "randomized"
    model = PCA(k, svd_solver=solver, random_state=0).fit(flat)

    def give_back(x: Array) -> Array:
        return np.asarray(model.inverse_transform(model.transform(x.reshape(len(x), -1)))).reshape(x.shape)

    score = quality(card, give_back(judged.x), judged.clean)
    plural = "component" if k == 1 else "components"
    return {"name": f"PCA with {k} {plural}", "rows": len(flat), "validation_score": score, "model": give_back}


def _filters(card: Card) -> Iterator[tuple[str, Filter]]:
    """Known filters against noise on rows of this kind."""
    if card.kind == "image":
        yield from ((f"Gaussian filter, σ = {sigma:g}", _gaussian(sigma)) for sigma in (0.5, 0.75, 1.0, 1.5))
        yield from ((f"median filter, {size} × {size}", _median(size)) for size in (3, 5))
    elif is_sound(card) and card.input_shape[0] >= _LONG_RECORDING:
        yield from ((f"spectral subtraction, {factor:g} × noise", _subtraction(factor)) for factor in (1.0, 2.0, 4.0))


def _gaussian(sigma: float) -> Filter:
    def smooth(x: Array) -> Array:
        from scipy.ndimage import gaussian_filter

        return np.asarray(gaussian_filter(x, sigma=(0, sigma, sigma, 0)))

    return smooth


def _median(size: int) -> Filter:
    def smooth(x: Array) -> Array:
        from scipy.ndimage import median_filter

        return np.asarray(median_filter(x, size=(1, size, size, 1)))

    return smooth


def _subtraction(factor: float) -> Filter:
    """Wiener's gain 1 − factor · noise / power for every frame and frequency (Boll 1979; Lim & Oppenheim 1979).

    Noise is white and mostly alone in its place: its power is estimated from the median of all powers of a recording,
    which for exponentially distributed power is its mean times ln 2.
    """

    def smooth(x: Array) -> Array:
        made = np.empty_like(x)
        for row, wave in enumerate(x):
            found = stft(wave.ravel())
            power = np.square(np.abs(found))
            noise = np.median(power) / np.log(2)
            gain = np.maximum(0.05, 1 - factor * noise / np.maximum(power, 1e-12))
            made[row] = inverse_stft(found * gain, wave.size).reshape(wave.shape)
        return made

    return smooth
