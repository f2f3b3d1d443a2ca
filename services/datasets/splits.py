"""How rows are dealt out to train, validation and test: deterministic, disjoint, stratified, sizes known beforehand.

Shuffling sorts rows by the raw bits of a Philox counter, so a seed gives the same parts on every machine and under
every NumPy. The test part depends on no seed: every job on a data set is judged on the same rows.
"""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, final

import numpy as np
from annotated_types import Ge, Interval, Lt
from numpy.typing import NDArray

from services.errors import Invalid, Mistake

Rows = NDArray[np.int64]
TEST_FRACTION = 0.2
_TEST_STREAM, _VALIDATION_STREAM, _TRAIN_STREAM = 1, 2, 3
_ROUNDING = 1e-9


class Sizes(NamedTuple):
    """The number of rows in each part."""

    train: int
    validation: int
    test: int


@final
@dataclass(frozen=True)
class Split:
    """Shares of the rows. Without `test`, the test part is the data set's own or a fixed 20 %, and `train` and
    `validation` are shares of the other rows; with `test`, all three are shares of all rows."""

    train: Annotated[float, Interval(gt=0, le=1)] = 0.9
    validation: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    test: Annotated[float, Interval(gt=0, lt=1)] | None = None
    stratify: bool = True
    seed: Annotated[int, Ge(0), Lt(2**63)] = 1

    def mistakes(self) -> list[Mistake]:
        """What is wrong with the shares, with paths below `dataset.split`."""
        found = [
            Mistake(f"dataset.split.{name}", "out_of_range", f"{name} is {share}; a share lies between 0 and 1")
            for name, share, good in (
                ("train", self.train, 0 < self.train <= 1),
                ("validation", self.validation, 0 <= self.validation < 1),
                ("test", self.test, self.test is None or 0 < self.test < 1),
            )
            if not good
        ]
        total = self.train + self.validation + (self.test or 0)
        if not found and total > 1 + _ROUNDING:
            found.append(
                Mistake(
                    "dataset.split",
                    "out_of_range",
                    f"the shares add up to {total:.6g}, more than 1",
                    "Make train, validation and test (where given) add up to 1 or less.",
                )
            )
        return found


def sizes(train: int, test: int, own_test: bool, split: Split, train_fraction: float = 1.0) -> Sizes:
    """The sizes of the parts of `train` + `test` rows; Invalid where a split leaves nothing to train on."""
    _check(split, train_fraction, _own_test_kept(own_test, split))
    return _fraction(_cut(train, test, split), train_fraction, train + test)


def sizes_in_order(train: int, test: int, gap: int, split: Split, train_fraction: float = 1.0) -> Sizes:
    """The same for rows in order of time with a test part at their end: validation comes just before it, `gap` rows
    are left out before validation, and what remains is for training."""
    _check(split, train_fraction, _own_test_kept(True, split))
    cut = _cut(train, test, split)
    room = train - cut.validation - (gap if cut.validation else 0)
    return _fraction(cut._replace(train=max(0, min(cut.train, room))), train_fraction, train)


def sizes_of_own(own: Sizes, split: Split, train_fraction: float = 1.0) -> Sizes:
    """The same for a data set that comes with all three parts: the split's shares must be left alone."""
    mistakes = _own_test_kept(True, split)
    if (split.train, split.validation) != (Split.train, Split.validation):
        message = "this data set has a train, a validation and a test part of its own, which are kept"
        mistakes.append(Mistake("dataset.split", "own_parts", message, "Leave out split; train_fraction works."))
    _check(split, train_fraction, mistakes)
    return _fraction(own, train_fraction, sum(own))


def _check(split: Split, train_fraction: float, more: list[Mistake]) -> None:
    mistakes = [*split.mistakes(), *more]
    if not 0 < train_fraction <= 1:
        mistakes.append(Mistake("dataset.train_fraction", "out_of_range", "lies above 0 and is at most 1"))
    if mistakes:
        raise Invalid(mistakes)


def _fraction(cut: Sizes, train_fraction: float, rows: int) -> Sizes:
    if not cut.train:
        raise Invalid([Mistake("dataset.split.train", "empty", f"leaves no row of {rows} to train on")])
    return cut._replace(train=max(1, _nearest(cut.train * train_fraction)))


def _own_test_kept(own_test: bool, split: Split) -> list[Mistake]:
    if not own_test or split.test is None:
        return []
    return [
        Mistake(
            "dataset.split.test",
            "own_test_part",
            "this data set has a test part of its own, which is kept",
            "Leave out split.test.",
        )
    ]


def _cut(train: int, test: int, split: Split) -> Sizes:
    whole = train
    if split.test is not None:
        whole = train + test
        test = _nearest(whole * split.test)
        train = whole - test
    validation = min(train, _nearest(whole * split.validation))
    everything = abs(split.train + split.validation + (split.test or 0) - 1) < _ROUNDING
    rest = train - validation
    return Sizes(rest if everything else min(rest, _nearest(whole * split.train)), validation, test)


def _nearest(x: float) -> int:
    return int(np.floor(x + 0.5 + _ROUNDING))


def cut_test(labels: NDArray[Any] | None, n: int, count: int) -> tuple[Rows, Rows]:
    """`count` of `n` rows for the test part and the rows left, both in ascending order; the same for every seed."""
    chosen = _choose(labels, n, count, seed=0, stream=_TEST_STREAM)
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def cut_validation(labels: NDArray[Any] | None, n: int, counts: Sizes, seed: int) -> tuple[Rows, Rows]:
    """Rows (of `n`) for train and validation. Train rows come mixed so that the first k of them are a fair sample too:
    a smaller train_fraction is always contained in a larger one."""
    chosen = _choose(labels, n, counts.validation, seed, _VALIDATION_STREAM)
    rest = np.flatnonzero(~chosen)
    mixed = _mix(None if labels is None else labels[rest], len(rest), seed)
    return rest[mixed[: counts.train]], np.flatnonzero(chosen)


def _choose(labels: NDArray[Any] | None, n: int, count: int, seed: int, stream: int) -> NDArray[np.bool_]:
    # Rows sorted by class (shuffled within), then `count` places spread evenly: every run of equal labels gets its
    # share rounded down or up, and the total is exact.
    order = _shuffled(n, seed, stream)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    places = np.arange(n + 1, dtype=np.int64) * count // max(n, 1)
    chosen = np.zeros(n, np.bool_)
    chosen[order] = np.diff(places) > 0
    return chosen


def _mix(labels: NDArray[Any] | None, n: int, seed: int) -> Rows:
    order = _shuffled(n, seed, _TRAIN_STREAM)
    if labels is None:
        return order
    shuffled = labels[order]
    position = np.empty(n)
    for label in np.unique(shuffled):
        places = np.flatnonzero(shuffled == label)
        position[places] = (np.arange(len(places)) + 0.5) / len(places)
    return order[np.argsort(position, kind="stable")]


def _shuffled(n: int, seed: int, stream: int) -> Rows:
    bits = np.random.Philox(key=seed + (stream << 64)).random_raw(n)
    return np.argsort(bits, kind="stable").astype(np.int64)
