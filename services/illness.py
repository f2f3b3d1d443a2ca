"""What an illness of a training is: what is measured, the threshold and its source, and what to do about it.

One file of `services.diagnoses` is one illness; the folder is the registry. An illness looks at a `Case`, all that is
known of a run at that moment, and says where it sees itself. It decides nothing else: `services.diagnose` does.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, final

from services.data_facts import DataFacts

Stage = Literal["data", "epoch", "end"]
"""When an illness is looked for: before the first step, while the network learns, when it has learned."""

Severity = Literal["warning", "error"]


@final
@dataclass(frozen=True)
class Weights:
    """The kernel of one layer around one step: Euclidean norms of the kernel, of its gradient and of its change, and
    how far its units differ (0: all have the same weights; None where that says nothing)."""

    path: str
    name: str
    weight: float
    gradient: float
    update: float
    spread: float | None

    @property
    def ratio(self) -> float:
        """Change through the step over the size before it."""
        return self.update / self.weight if self.weight else 0.0

    @property
    def pull(self) -> float:
        """Gradient over the size of the kernel: comparable between layers of different size."""
        return self.gradient / self.weight if self.weight else 0.0


@final
@dataclass(frozen=True)
class Activity:
    """What the units of one activation do over some rows: the share that is never above 0, the share of outputs at
    the ends of their range (None where there are none)."""

    path: str
    name: str
    kind: str
    units: int
    idle: float
    saturated: float | None


@final
@dataclass(frozen=True)
class Moment:
    """The figures of one epoch that was looked at; `values` are its metrics, those of validation begin `val_`."""

    epoch: int
    values: Mapping[str, float]

    @property
    def loss(self) -> float:
        """The training loss."""
        return self.values["loss"]


@final
@dataclass
class Case:
    """A run as it stands. `spec` is the resolved spec; `history` the epochs looked at so far, oldest first; `best` the
    epoch with the smallest validation loss; `swing` the largest update-to-weight ratio of any look; `trainable` the
    types of the layers with weights, in order."""

    spec: dict[str, Any]
    task: str
    epochs: int
    parameters: int
    outputs: int
    picture: bool
    facts: DataFacts
    trainable: tuple[str, ...] = ()
    epoch: int = 0
    ended: bool = False
    diverged: bool = False
    rate: float = 0.0
    history: list[Moment] = field(default_factory=list)
    best: Moment | None = None
    swing: float = 0.0
    weights: tuple[Weights, ...] = ()
    activity: tuple[Activity, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def now(self) -> Moment | None:
        """The epoch looked at last."""
        return self.history[-1] if self.history else None

    @property
    def level(self) -> float | None:
        """Training loss of the last epoch over that of the best constant guess; None where either is unknown."""
        return None if self.now is None or not self.facts.chance else self.now.loss / self.facts.chance

    @property
    def learned(self) -> bool:
        """Whether the network explains at least half of what a constant guess leaves open: then it works."""
        return self.level is not None and self.level < 0.5

    @property
    def late(self) -> bool:
        """Whether enough of the run is over to judge by its scores."""
        return self.ended or 2 * self.epoch >= self.epochs

    def earlier(self) -> Moment | None:
        """The epoch looked at nearest to the middle of the run so far; None in the first ones."""
        before = [moment for moment in self.history[:-1] if 2 * moment.epoch >= self.history[-1].epoch]
        return before[0] if before else None

    def accuracy(self, prefix: str = "") -> float | None:
        """The share of right answers in the last epoch; `prefix` `val_` for validation."""
        return None if self.now is None else accuracy_of(self.now.values, prefix)


@final
@dataclass(frozen=True)
class Seen:
    """One place where an illness shows: what was measured, in which layer, and a merge patch (RFC 7396) of the spec."""

    measured: float
    path: str | None = None
    layer: str | None = None
    patch: Mapping[str, Any] | None = None


class Illness(abc.ABC):
    """Something that goes wrong with training. The docstring of a concrete class says what it is, in plain words."""

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str]
    severity: ClassVar[Severity] = "warning"
    stages: ClassVar[tuple[Stage, ...]]
    tasks: ClassVar[tuple[str, ...]]
    looks: ClassVar[int] = 1
    """How many looks in a row must show it: 2 for what may pass by itself."""
    formula: ClassVar[str]
    unit: ClassVar[str]
    threshold: ClassVar[float]
    source: ClassVar[str]
    """Where the threshold comes from."""
    explanation: ClassVar[str]
    """Two sentences: what is the matter, and why it harms."""
    next_step: ClassVar[str]
    explains: ClassVar[frozenset[str]] = frozenset()
    """Illnesses that are mere consequences: while this one is seen, they are not told."""

    @abc.abstractmethod
    def look(self, case: Case) -> Iterator[Seen]:
        """Where the illness shows, worst first; nothing where it does not or cannot be told."""


def accuracy_of(values: Mapping[str, float], prefix: str = "") -> float | None:
    """The share of right answers among metric values, under whichever of its names it was asked for."""
    names = ("accuracy", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")
    return next((values[prefix + name] for name in names if prefix + name in values), None)


def squared_error_of(values: Mapping[str, float], loss: str) -> float | None:
    """The mean squared error among metric values; `loss` is the type of the cost."""
    if "root_mean_squared_error" in values:
        return values["root_mean_squared_error"] ** 2
    return values.get("mean_squared_error", values.get("loss") if loss == "mean_squared_error" else None)


def standard_error(share: float, rows: int) -> float:
    """Of a share among so many rows: √(p (1 − p) / n)."""
    return float((share * (1 - share) / max(1, rows)) ** 0.5)
