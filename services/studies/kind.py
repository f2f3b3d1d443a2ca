"""What a kind of study is: which jobs it makes of one, and what it concludes from their outcomes.

A kind is a final frozen dataclass in `services.studies.kinds`; its fields are what a user may say beside the base job.
It computes from plain data alone: no kernel, no database, no clock.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, final

from services.errors import Mistake

Point: TypeAlias = tuple[float, ...]
"""x, y, and for an interval its lower and its upper end."""

Certainty: TypeAlias = Literal["clear", "weak", "none"]

SUPERVISED = ("classification", "regression", "autoencoder", "forecasting", "language_model")


@final
@dataclass(frozen=True)
class Base:
    """The job that is varied, resolved, its plan's outline, and the metric that its trials are judged by."""

    job: Mapping[str, Any]
    outline: Mapping[str, Any]
    metric: str
    better: Literal["max", "min"]

    @property
    def rows(self) -> int:
        """Rows to train on; 0 for an agent, which has none."""
        return int(self.outline.get("rows", {}).get("train", 0))


@final
@dataclass(frozen=True)
class Variant:
    """One way to vary the job: `varied` names it in tables, `changes` are values by place in the job."""

    varied: Mapping[str, Any]
    changes: Mapping[str, Any]


@final
@dataclass(frozen=True)
class Trial:
    """One job of a study: what was varied, and (once it is over) what came out of it, see `services.studies.outcomes`.

    `state` is that of its job, or `waiting` before there is one.
    """

    number: int
    varied: Mapping[str, Any]
    spec: Mapping[str, Any]
    outline: Mapping[str, Any]
    job: str | None
    state: str
    outcome: Mapping[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether its job succeeded."""
        return self.outcome is not None and self.outcome["state"] == "succeeded"

    @property
    def diverged(self) -> bool:
        """Whether its cost became infinite or not a number."""
        return self.outcome is not None and self.outcome.get("reason") == "diverged"

    @property
    def variant(self) -> str:
        """What was varied but the seed, as a key to group by."""
        return "\0".join(f"{name}={value}" for name, value in self.varied.items() if name != "seed")

    def score(self, metric: str, part: str = "test") -> float | None:
        """A metric of a part (`test`, `validation`); None where it was not measured or is no number."""
        value = ((self.outcome or {}).get(part) or {}).get(metric)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    def series(self, name: str) -> list[tuple[int, float]]:
        """Steps and values of a metric while it trained; what was no number is infinite."""
        told = ((self.outcome or {}).get("series") or {}).get(name) or []
        return [(int(step), math.inf if value is None else float(value)) for step, value in told]


@final
@dataclass(frozen=True)
class Line:
    """One line of a panel: its points by x. `mark`: how it is drawn."""

    name: str
    points: Sequence[Point]
    mark: Literal["line", "dots", "both", "dashed"] = "both"


@final
@dataclass(frozen=True)
class Span:
    """A stretch of the x axis that stands out, with its name."""

    low: float
    high: float
    name: str


@final
@dataclass(frozen=True)
class Panel:
    """One curve of the picture: axes with their labels, and lines."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    spans: Sequence[Span] = ()


@final
@dataclass(frozen=True)
class Conclusion:
    """What a study found out. `certainty` says how far to trust `verdict`; `findings` are further sentences, `figures`
    the numbers behind them, for programs."""

    verdict: str
    certainty: Certainty
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    panels: Sequence[Panel] = ()
    findings: Sequence[str] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it is recorded and answered."""
        return asdict(self)


class Kind(abc.ABC):
    """A kind of study."""

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    tasks: ClassVar[tuple[str, ...]] = SUPERVISED
    default_seeds: ClassVar[int] = 1
    """Seeds that a study of this kind has unless the user says how many."""
    seeded: ClassVar[tuple[str, ...]] = ("training.seed",)
    """Places that get another value with each seed."""
    compares: ClassVar[bool] = False
    """Whether every trial scores classical models, rather than the first trial alone."""

    extendable: ClassVar[bool] = True
    """Whether seeds can be added to a finished study."""
    gives_up: ClassVar[bool] = False
    """Whether `hopeless` may end a trial early."""

    def mistakes(self, base: Base) -> list[Mistake]:
        """What does not fit this job, with paths in the study."""
        return []

    def probes(self, base: Base) -> Sequence[Variant]:
        """Jobs that are not run but must be right for the study to be right: the ends of what it may try."""
        return []

    @abc.abstractmethod
    def variants(self, base: Base) -> Sequence[Variant]:
        """The jobs to run, for each seed."""

    def count(self, base: Base) -> int:
        """How many variants there will be in the end."""
        return len(self.variants(base))

    def further(self, base: Base, trials: Sequence[Trial]) -> Sequence[Variant]:
        """The jobs to run next, for each seed, now that all `trials` are over; none when the study can conclude."""
        return []

    def hopeless(self, base: Base, trials: Sequence[Trial], live: Trial) -> bool:
        """Whether a trial that still trains need not go on, by what it has shown and by those that are over."""
        return False

    @abc.abstractmethod
    def conclude(self, base: Base, trials: Sequence[Trial]) -> Conclusion:
        """What the outcomes say; every trial is over, some may have failed."""


def by_variant(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials that differ in nothing but the seed, together, in the order of the study."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.variant, []).append(trial)
    return list(groups.values())


def scores(trials: Sequence[Trial], metric: str, part: str = "test") -> list[float]:
    """The scores of those that have one."""
    return [score for trial in trials if trial.done and (score := trial.score(metric, part)) is not None]
