"""Windows over a series in order of time: what a network sees, and what comes next. Used for forecasts and for text.

A row that begins at step s sees the steps s … s + window − 1, and its target is `horizon` steps from s + shift on.
Rows are dealt out in order: no target of training reaches into the targets of validation, nor those into the test.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from services.datasets.base import Array, Card, Content, Dealt, Part
from services.datasets.encoding import Encoder
from services.datasets.preprocessing import Normalization, TargetNormalization, moments
from services.datasets.splits import Sizes, Split
from services.errors import Invalid, Mistake

MAX_VALUES = 2**29


@final
@dataclass(frozen=True)
class Geometry:
    """How rows lie over a series: rows for training begin every `stride` steps."""

    window: int
    shift: int
    horizon: int
    stride: int

    @property
    def gap(self) -> int:
        """Rows to leave out so that the targets before and after them do not overlap."""
        return -(-self.horizon // self.stride) - 1

    def starts(self, begin: int, end: int, stride: int | None = None) -> Array:
        """Where rows begin whose targets lie within the steps begin … end − 1."""
        first = max(0, begin - self.shift)
        return np.arange(first, end - self.shift - self.horizon + 1, stride or self.stride, dtype=np.int64)

    def count(self, begin: int, end: int, stride: int | None = None) -> int:
        """How many these are."""
        first, step = max(0, begin - self.shift), stride or self.stride
        return max(0, (end - self.shift - self.horizon - first) // step + 1)


def fits(geometry: Geometry, card: Card) -> Card:
    """The card, or Invalid where its rows would be none or too many to hold."""
    values = (card.train + card.validation + card.test) * (geometry.window + geometry.horizon)
    if min(card.train, card.test) < 1:
        message = f"the series is too short for rows of {geometry.window} and {geometry.horizon} steps"
        raise Invalid([Mistake("dataset.window", "too_long", message)])
    if values > MAX_VALUES:
        message = f"{card.train + card.validation + card.test:,} rows hold {values:,} values, more than {MAX_VALUES:,}"
        raise Invalid([Mistake("dataset.stride", "too_many", message, "Choose a larger stride or shorter rows.")])
    return card


@final
@dataclass(frozen=True)
class Windows(Content):
    """A series (n, features) or (n,) and how it is cut. The parts' targets end at `train_end`, `validation_end` (the
    same where no validation part was published) and `test_end`. `target` is the column to predict (None = the series
    itself); `scaled` gives every column mean 0 and variance 1 over the steps that training sees."""

    values: Array
    geometry: Geometry
    train_end: int
    validation_end: int
    test_end: int
    target: int | None = None
    scaled: bool = False
    test_stride: int = 1
    encoder: Encoder | None = None

    def arrays(self) -> Iterator[Array]:
        """The series."""
        yield self.values

    def deal(self, card: Card, split: Split, counts: Sizes) -> Dealt:
        """The parts in order of time; a smaller train part is the latest of the larger one."""
        g, stride = self.geometry, self.test_stride
        starts = g.starts(0, self.train_end)
        if self.validation_end > self.train_end:
            validation = g.starts(self.train_end, self.validation_end, stride)
            last = len(starts)
        else:
            validation = starts[len(starts) - counts.validation :]
            last = len(starts) - counts.validation - (g.gap if counts.validation else 0)
        train = starts[last - counts.train : last]
        test = g.starts(self.validation_end, self.test_end, stride)
        dealt = Dealt(self._part(train), self._part(validation), self._part(test), self.encoder)
        return self._scale(dealt, train) if self.scaled else dealt

    def _part(self, starts: Array) -> Part:
        g = self.geometry
        series = self.values if self.target is None else self.values[:, self.target]
        x = np.moveaxis(sliding_window_view(self.values, g.window, axis=0), -1, 1)[starts]
        y = sliding_window_view(series, g.horizon, axis=0)[starts + g.shift]
        return Part(x, y, np.stack([starts + g.shift, starts + g.shift + g.horizon - 1], axis=1))

    def _scale(self, dealt: Dealt, train: Array) -> Dealt:
        g = self.geometry
        seen = self.values[train[0] : train[-1] + g.shift + g.horizon]
        mean, variance = moments(seen.reshape(len(seen), -1))
        column = self.target or 0
        aim = TargetNormalization((float(mean[column]),), (float(variance[column]),))
        return replace(dealt, steps=(Normalization(tuple(mean.tolist()), tuple(variance.tolist())),), targets=aim)


def naive_forecast(x: Array, horizon: int, season: float | None = None) -> Any:
    """Forecasts (n, horizon) that learn nothing, from windows (n, window) of the target itself.

    Persistence: the last value stays. With a season: the value one season (or as many as it takes to be known) before,
    interpolated between steps where a season is not a whole number of them.
    """
    ahead = np.arange(1, horizon + 1)
    if season is None:
        return np.repeat(x[:, -1:], horizon, axis=1)
    back = x.shape[1] - 1 + ahead - season * np.ceil(ahead / season)
    if back.min() < 0:
        raise ValueError(f"a window of {x.shape[1]} steps is shorter than a season of {season:g}")
    low = np.floor(back).astype(np.int64)
    share = back - low
    high = np.minimum(low + 1, x.shape[1] - 1)
    return x[:, low] * (1 - share) + x[:, high] * share
