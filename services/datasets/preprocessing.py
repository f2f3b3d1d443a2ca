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

from services.datasets.encoders import ENCODERS
from services.datasets.encoding import Encoder
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

    def undo(self, x: Floats) -> bool:
        """Take the change back in place; False where that cannot be."""
        return False

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

    def undo(self, x: Floats) -> bool:
        """x ← (x − offset) / scale."""
        if self.scale:
            x -= np.float32(self.offset)
            x /= np.float32(self.scale)
        return bool(self.scale)


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

    def undo(self, x: Floats) -> bool:
        """x ← x · √variance + mean."""
        if self.mean is None or self.variance is None:
            return False
        deviation = np.sqrt(np.asarray(self.variance))
        x *= np.where(deviation == 0, 1.0, deviation).astype(np.float32)
        x += np.asarray(self.mean, np.float32)
        return True


@final
@dataclass(frozen=True)
class TargetNormalization:
    """Targets with mean 0 and variance 1 in the train part: a network learns them so, and its answers are turned back.

    Not a step that users write: a data set brings it along, fitted.
    """

    type: ClassVar[str] = "target_normalization"
    mean: tuple[Number, ...]
    variance: tuple[Variance, ...]

    def __post_init__(self) -> None:
        """Turn lists into tuples and refuse what is no mean or variance."""
        for name in ("mean", "variance"):
            object.__setattr__(self, name, _vector(name, getattr(self, name)) or ())
        if not self.mean or len(self.mean) != len(self.variance) or min(self.variance) < 0:
            raise ValueError("mean and variance need one number for each target, or one for all")

    @property
    def deviation(self) -> NDArray[np.float64]:
        """√variance, and 1 for what never changes."""
        deviation = np.sqrt(np.asarray(self.variance))
        return np.where(deviation == 0, 1.0, deviation)

    def apply(self, y: ArrayLike) -> Floats:
        """(y − mean) / √variance."""
        return ((np.asarray(y, np.float64) - self.mean) / self.deviation).astype(np.float32)

    def restore(self, y: ArrayLike) -> Floats:
        """y · √variance + mean."""
        return (np.asarray(y, np.float64) * self.deviation + self.mean).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Its type and its fields."""
        return {"type": self.type, **dataclasses.asdict(self)}


STEPS: dict[str, type[Step]] = {step.type: step for step in (Rescaling, Normalization)}
NAMES = {name: step.type for step in STEPS.values() for name in (step.type, *step.aliases)}
"""Every accepted name and the type it means."""


@final
@dataclass(frozen=True)
class Pipeline:
    """All that happens to rows before a network sees them: an encoder where they are not numbers yet, then steps in
    order, and what is done to the targets. `fit` learns from the train part, `apply` serves every part and request."""

    steps: tuple[Step, ...] = ()
    encoder: Encoder | None = None
    targets: TargetNormalization | None = None

    @classmethod
    def of(
        cls, steps: Sequence[Step | Mapping[str, Any]], features: int | None = None, dtype: str = "float32"
    ) -> "Pipeline":
        """A pipeline from steps or from their JSON, for rows whose last axis holds `features` numbers where known.

        Invalid lists all mistakes under `dataset.preprocessing[i]`; numbers that stand for words (`dtype` int32) take
        no steps.
        """
        parsed: list[Step] = []
        mistakes: list[Mistake] = []
        for number, step in enumerate(steps):
            try:
                parsed.append(step if isinstance(step, Step) else _step(step))
                found = parsed[-1].check(features) if features is not None else []
            except Invalid as error:
                found = list(error.mistakes)
            if dtype != "float32":
                found = [_not_for_tokens()]
            mistakes += [dataclasses.replace(mistake, path=_place(number, mistake.path)) for mistake in found]
        if mistakes:
            raise Invalid(mistakes)
        return cls(tuple(parsed))

    def fit(self, x: Floats) -> "Pipeline":
        """Fit step after step on encoded `x`, each on what the one before made of it; `x` is left preprocessed."""
        fitted = []
        for step in self.steps:
            fitted.append(step.fit(x))
            _bounded(fitted[-1], x)
        return dataclasses.replace(self, steps=tuple(fitted))

    def encode(self, rows: Any) -> NDArray[Any]:
        """A fresh array of numbers (n, …) from rows as their source gives them: float32, or int32 for words."""
        if self.encoder is not None:
            return self.encoder.encode(rows)
        return np.array(rows, dtype=np.float32, order="C")

    def apply(self, rows: Any) -> NDArray[Any]:
        """The preprocessed array of rows as their source gives them."""
        values = self.encode(rows)
        for step in self.steps:
            _bounded(step, values)
        return values

    def undo(self, x: NDArray[Any]) -> Floats | None:
        """A copy of preprocessed numbers as the data set gave them; None where a step cannot be taken back."""
        rows = np.array(x, np.float32)
        return rows if all(step.undo(rows) for step in reversed(self.steps)) else None

    def aim(self, y: NDArray[Any]) -> NDArray[Any]:
        """Targets as the network learns them: int32, or float32 normalized where that is part of the data set."""
        if self.encoder is not None:
            y = self.encoder.targets(y)
        return y if self.targets is None else self.targets.apply(y)

    def restore(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """A network's answers in the units of the data set."""
        return outputs if self.targets is None else self.targets.restore(outputs)

    def to_json(self) -> list[dict[str, Any]]:
        """Everything as plain JSON: the encoder, the steps, the targets."""
        return [part.to_json() for part in (self.encoder, *self.steps, self.targets) if part is not None]

    @classmethod
    def from_json(cls, parts: Sequence[Mapping[str, Any]]) -> "Pipeline":
        """The pipeline that `to_json` wrote."""
        encoder = next((_built(ENCODERS[part["type"]], part) for part in parts if part.get("type") in ENCODERS), None)
        aims = [part for part in parts if part.get("type") == TargetNormalization.type]
        ours = {TargetNormalization.type, *ENCODERS}
        steps = cls.of([part for part in parts if part.get("type") not in ours]).steps
        targets = TargetNormalization(aims[0]["mean"], aims[0]["variance"]) if aims else None
        return cls(steps, encoder, targets)


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


def _bounded(step: Step, x: Floats) -> None:
    """Apply a step; what grows beyond float32 becomes its largest number, so that no request makes infinities."""
    with np.errstate(over="ignore"):
        step.apply(x)
    np.clip(x, -_LARGEST, _LARGEST, out=x)


def _built(encoder: type[Encoder], part: Mapping[str, Any]) -> Encoder:
    return encoder.from_json({key: value for key, value in part.items() if key != "type"})


def _not_for_tokens() -> Mistake:
    message = "the inputs are numbers of words, and arithmetic with them means nothing"
    return Mistake("", "step_unfit", message, "Leave preprocessing out, and begin the network with an embedding.")


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
