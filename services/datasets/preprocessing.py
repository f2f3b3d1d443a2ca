"""Preprocessing that travels with the model: steps are fitted on the train part only and kept as plain JSON.

Each step is a frozen dataclass under its Keras name; a fitted step is a step whose fields are all known.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike, NDArray

from services.errors import Invalid, Mistake, NotFound, did_you_mean
from services.names import lookup

Floats = NDArray[np.float32]
_ROWS_AT_ONCE = 4096
_LARGEST = float(np.finfo(np.float32).max)

Number = Annotated[float, Interval(ge=-_LARGEST, le=_LARGEST)]
Variance = Annotated[float, Interval(ge=0, le=_LARGEST)]


@dataclass(frozen=True)
class Step(abc.ABC):
    """One preprocessing step; concrete ones are frozen dataclasses whose fields are the hyperparameters."""

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()

    def check(self, features: int) -> list[Mistake]:
        """What keeps the step from rows whose last axis holds `features` numbers."""
        return []

    def fit(self, x: Floats) -> "Step":
        """The step with everything known that it learns from the train part `x` of shape (n, …)."""
        return self

    @abc.abstractmethod
    def apply(self, x: Floats) -> None:
        """Change `x` of shape (n, …) in place."""

    def to_json(self) -> dict[str, Any]:
        """The step as plain JSON: its type and its fields."""
        return {"type": self.type, **dataclasses.asdict(self)}


@final
@dataclass(frozen=True)
class Rescaling(Step):
    """Multiply by a constant and add another: x · scale + offset."""

    type: ClassVar[str] = "rescaling"
    aliases: ClassVar[tuple[str, ...]] = ("Rescaling",)
    scale: Number
    offset: Number = 0.0

    def __post_init__(self) -> None:
        """Refuse what is not a finite number."""
        _number("scale", self.scale)
        _number("offset", self.offset)

    def apply(self, x: Floats) -> None:
        """x ← x · scale + offset."""
        x *= np.float32(self.scale)
        if self.offset:
            x += np.float32(self.offset)


@final
@dataclass(frozen=True)
class Normalization(Step):
    """Give every feature mean 0 and variance 1: (x − mean) / √variance along the last axis; fitted on the train part.

    A feature that never changes has variance 0 and is only shifted, as in scikit-learn's StandardScaler.
    """

    type: ClassVar[str] = "normalization"
    aliases: ClassVar[tuple[str, ...]] = ("Normalization",)
    mean: tuple[Number, ...] | None = None
    variance: tuple[Variance, ...] | None = None

    def __post_init__(self) -> None:
        """Turn lists into tuples and refuse what is no mean or variance."""
        for name in ("mean", "variance"):
            object.__setattr__(self, name, _vector(name, getattr(self, name)))
        if self.mean is None and self.variance is None:
            return
        if self.mean is None or self.variance is None or len(self.mean) != len(self.variance):
            raise ValueError(
                "mean and variance need one number for each feature; or give neither: they are learned then"
            )
        if min(self.variance) < 0:
            raise ValueError("a variance is never negative")

    def check(self, features: int) -> list[Mistake]:
        """Known means must be one for each feature."""
        if self.mean is None or len(self.mean) == features:
            return []
        return [Mistake("mean", "shape", f"is for {len(self.mean)} features, and the data have {features}")]

    def fit(self, x: Floats) -> "Normalization":
        """The mean and the (population) variance of every feature of `x`, in float64."""
        if self.mean is not None:
            return self
        mean, variance = moments(x.reshape(-1, x.shape[-1]))
        return Normalization(tuple(mean.tolist()), tuple(variance.tolist()))

    def apply(self, x: Floats) -> None:
        """x ← (x − mean) / √variance."""
        if self.mean is None or self.variance is None:
            raise ValueError("fit the normalization before applying it")
        if mistakes := self.check(x.shape[-1]):
            raise Invalid(mistakes)
        deviation = np.sqrt(np.asarray(self.variance))
        x -= np.asarray(self.mean, np.float32)
        x /= np.where(deviation == 0, 1.0, deviation).astype(np.float32)


STEPS: dict[str, type[Step]] = {step.type: step for step in (Rescaling, Normalization)}
NAMES = {name: step.type for step in STEPS.values() for name in (step.type, *step.aliases)}
"""Every accepted name and the type it means."""


@final
@dataclass(frozen=True)
class Pipeline:
    """Preprocessing steps in order: `fit` learns them from the train part, `apply` serves every part and request."""

    steps: tuple[Step, ...] = ()

    @classmethod
    def of(cls, steps: Sequence[Step | Mapping[str, Any]], features: int | None = None) -> "Pipeline":
        """A pipeline from steps or from their JSON, for rows whose last axis holds `features` numbers where known.

        Invalid lists all mistakes under `dataset.preprocessing[i]`.
        """
        parsed: list[Step] = []
        mistakes: list[Mistake] = []
        for number, step in enumerate(steps):
            try:
                parsed.append(step if isinstance(step, Step) else _step(step))
                found = parsed[-1].check(features) if features is not None else []
            except Invalid as error:
                found = list(error.mistakes)
            mistakes += [dataclasses.replace(mistake, path=_place(number, mistake.path)) for mistake in found]
        if mistakes:
            raise Invalid(mistakes)
        return cls(tuple(parsed))

    def fit(self, x: Floats) -> "Pipeline":
        """Fit step after step on `x`, each on what the one before made of it; `x` itself is left preprocessed."""
        fitted = []
        for step in self.steps:
            fitted.append(step.fit(x))
            fitted[-1].apply(x)
        return Pipeline(tuple(fitted))

    def apply(self, x: ArrayLike) -> Floats:
        """A preprocessed float32 copy of `x` of shape (n, …)."""
        values = np.array(x, dtype=np.float32, order="C")
        for step in self.steps:
            step.apply(values)
        return values

    def to_json(self) -> list[dict[str, Any]]:
        """The steps as plain JSON."""
        return [step.to_json() for step in self.steps]

    @classmethod
    def from_json(cls, steps: Sequence[Mapping[str, Any]]) -> "Pipeline":
        """The pipeline that `to_json` wrote."""
        return cls.of(steps)


def moments(x: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population variance of every column of `x` (n, k), in two passes of float64 over blocks of rows."""
    blocks = [x[start : start + _ROWS_AT_ONCE] for start in range(0, len(x), _ROWS_AT_ONCE)]
    mean = sum((block.sum(axis=0, dtype=np.float64) for block in blocks), np.zeros(x.shape[1])) / len(x)
    squares = sum((np.square(block - mean).sum(axis=0) for block in blocks), np.zeros(x.shape[1]))
    return mean, squares / len(x)


def _step(data: Mapping[str, Any]) -> Step:
    fields = dict(data)
    name = fields.pop("type", None)
    if not isinstance(name, str):
        raise Invalid([Mistake("type", "missing", "a preprocessing step needs a type", f"Known: {', '.join(STEPS)}.")])
    try:
        step = lookup("preprocessing step", name, STEPS, NAMES)
    except NotFound as error:
        raise Invalid([Mistake("type", "unknown_name", error.message, error.hint)]) from error
    known = [field.name for field in dataclasses.fields(step)]
    unknown = [
        Mistake(key, "unknown_key", f"{step.type} has no {key!r}", did_you_mean(key, known))
        for key in fields
        if key not in known
    ]
    if unknown:
        raise Invalid(unknown)
    try:
        return step(**fields)
    except (TypeError, ValueError) as error:
        raise Invalid([Mistake("", "invalid", str(error))]) from error


def _place(number: int, path: str) -> str:
    return f"dataset.preprocessing[{number}]{'.' if path else ''}{path}"


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise ValueError(f"{name} must be a finite float32 number")
    return float(value)


def _vector(name: str, values: object) -> tuple[float, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{name} must be a list with one number for each feature")
    return tuple(_number(name, value) for value in values)
