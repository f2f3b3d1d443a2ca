"""Learning rate schedules: the learning rate of every step of a run, worked out as one table before it starts.

Names and formulas follow Keras 3; `base` is the optimizer's learning_rate, t the step from 0 and T the number of steps.
Concrete schedules are frozen dataclasses; their fields are the hyperparameters. A schedule never looks at the metrics.
"""

import abc
import itertools
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import numpy as np
from annotated_types import Ge, Gt, Interval
from numpy.typing import NDArray

from services.names import lookup

Rates = NDArray[np.float32]
Steps = NDArray[np.float64]

Fraction = Annotated[float, Interval(ge=0, lt=1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """How the learning rate changes from step to step."""

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()

    def rates(self, base: float, total_steps: int) -> Rates:
        """The learning rates of all steps, float32 (total_steps,)."""
        return self.factors(base, np.arange(total_steps, dtype=np.float64), total_steps).astype(np.float32)

    @abc.abstractmethod
    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """The learning rates at the steps `t` of `total`, in float64."""


@final
@dataclass(frozen=True)
class Constant(Schedule):
    """rate = base; with warmup, w = round(warmup_fraction · T) steps of base · (t + 1) / (w + 1) come first."""

    type: ClassVar[str] = "constant"
    aliases: ClassVar[tuple[str, ...]] = ("Constant",)
    warmup_fraction: Fraction = 0.0

    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """The same rate at every step after the warmup."""
        return base * _warmup(t, _warmup_steps(self.warmup_fraction, total))


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """rate = base · (alpha + (1 − alpha) · ½ (1 + cos(π · (t − w) / (T − w)))); w = round(warmup_fraction · T) steps of
    base · (t + 1) / (w + 1) come first. Loshchilov, Hutter 2017."""

    type: ClassVar[str] = "cosine"
    aliases: ClassVar[tuple[str, ...]] = ("cosine_decay", "CosineDecay")
    warmup_fraction: Fraction = 0.0
    alpha: Annotated[float, Interval(ge=0, le=1)] = 0.0

    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """Up in a straight line, then half a cosine down to alpha · base."""
        warmup = _warmup_steps(self.warmup_fraction, total)
        passed = np.clip((t - warmup) / max(total - warmup, 1), 0, 1)
        wave = self.alpha + (1 - self.alpha) * 0.5 * (1 + np.cos(np.pi * passed))
        return base * wave * _warmup(t, warmup)


@final
@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """rate = base · decay_rate ^ (t / decay_steps); staircase rounds the exponent down."""

    type: ClassVar[str] = "exponential_decay"
    aliases: ClassVar[tuple[str, ...]] = ("ExponentialDecay",)
    decay_steps: Count
    decay_rate: Annotated[float, Interval(gt=0, le=1)]
    staircase: bool = False

    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """The same share lost in every decay_steps."""
        return base * self.decay_rate ** _periods(t, self.decay_steps, self.staircase)


@final
@dataclass(frozen=True)
class InverseTimeDecay(Schedule):
    """rate = base / (1 + decay_rate · t / decay_steps); staircase rounds t / decay_steps down. Robbins, Monro 1951."""

    type: ClassVar[str] = "inverse_time_decay"
    aliases: ClassVar[tuple[str, ...]] = ("InverseTimeDecay",)
    decay_steps: Count
    decay_rate: Positive
    staircase: bool = False

    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """Slower and slower, without end."""
        return base / (1 + self.decay_rate * _periods(t, self.decay_steps, self.staircase))


@final
@dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """rate = end + (base − end) · (1 − min(t, D) / D) ^ power; end = end_learning_rate, D = decay_steps or T."""

    type: ClassVar[str] = "polynomial_decay"
    aliases: ClassVar[tuple[str, ...]] = ("PolynomialDecay",)
    decay_steps: Count | None = None
    end_learning_rate: Annotated[float, Ge(0)] = 0.0001
    power: Positive = 1.0

    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """Down to end_learning_rate: in a straight line with power 1."""
        decay_steps = self.decay_steps or max(total, 1)
        left = 1 - np.minimum(t, decay_steps) / decay_steps
        return self.end_learning_rate + (base - self.end_learning_rate) * left**self.power


@final
@dataclass(frozen=True)
class PiecewiseConstantDecay(Schedule):
    """rate = values[i], i = the number of boundaries below t. The values stand in place of the optimizer's rate."""

    type: ClassVar[str] = "piecewise_constant_decay"
    aliases: ClassVar[tuple[str, ...]] = ("PiecewiseConstantDecay", "piecewise_constant")
    boundaries: tuple[Annotated[int, Ge(0)], ...]
    values: tuple[Positive, ...]

    def __post_init__(self) -> None:
        """Refuse boundaries that do not rise, and any number of values but one more than boundaries."""
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        object.__setattr__(self, "values", tuple(self.values))
        if len(self.values) != len(self.boundaries) + 1:
            wanted, found = len(self.boundaries) + 1, len(self.values)
            raise ValueError(f"{len(self.boundaries)} boundaries need {wanted} values, and there are {found}")
        if any(a >= b for a, b in itertools.pairwise(self.boundaries)) or min(self.boundaries, default=0) < 0:
            raise ValueError("boundaries are step numbers from 0 that rise")
        if not all(value > 0 for value in self.values):
            raise ValueError("values are learning rates above 0")

    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """A new value after every boundary."""
        return np.asarray(self.values, np.float64)[np.searchsorted(self.boundaries, t, side="left")]


@final
@dataclass(frozen=True)
class StepDecay(Schedule):
    """rate = base · gamma ^ ⌊t / step_size⌋."""

    type: ClassVar[str] = "step_decay"
    aliases: ClassVar[tuple[str, ...]] = ("step", "StepDecay")
    step_size: Count
    gamma: Annotated[float, Interval(gt=0, le=1)] = 0.1

    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """Multiplied by gamma after every step_size steps."""
        return base * self.gamma ** _periods(t, self.step_size, True)


@final
@dataclass(frozen=True)
class GeometricRise(Schedule):
    """rate = base · (end_learning_rate / base) ^ (t / (T − 1)): the learning rate range test of Smith 2017."""

    type: ClassVar[str] = "geometric_rise"
    aliases: ClassVar[tuple[str, ...]] = ("GeometricRise",)
    end_learning_rate: Positive = 10.0

    def factors(self, base: float, t: Steps, total: int) -> Steps:
        """The same factor from each step to the next."""
        return base * (self.end_learning_rate / base) ** (t / max(total - 1, 1))


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.type: schedule
    for schedule in (
        Constant,
        Cosine,
        ExponentialDecay,
        InverseTimeDecay,
        PolynomialDecay,
        PiecewiseConstantDecay,
        StepDecay,
        GeometricRise,
    )
}
NAMES = {name: found.type for found in SCHEDULES.values() for name in (found.type, *found.aliases)}
"""Every accepted name and the type it means."""


def schedule(name: str) -> type[Schedule]:
    """The class of the schedule called `name`; NotFound lists the known ones."""
    return lookup("learning rate schedule", name, SCHEDULES, NAMES)


def _warmup_steps(fraction: float, total: int) -> int:
    return round(fraction * total)


def _warmup(t: Steps, steps: int) -> Steps:
    return np.minimum((t + 1) / (steps + 1), 1.0)


def _periods(t: Steps, length: int, whole: bool) -> Steps:
    return np.floor(t / length) if whole else t / length
