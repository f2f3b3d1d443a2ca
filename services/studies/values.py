"""A study as the record knows it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, final

from services.sql.values import Document


@final
class StudyState(StrEnum):
    """Where a study stands; it runs from the moment it is posted, and again when it is extended."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED: Final = frozenset({StudyState.SUCCEEDED, StudyState.FAILED, StudyState.CANCELLED})


@final
@dataclass(frozen=True)
class Study:
    """One study; times are aware UTC datetimes. `version` grows with every change, `counts` are trials by state."""

    id: str
    tenant: str
    name: str
    labels: tuple[str, ...]
    type: str
    state: StudyState
    message: str | None
    spec: Document
    plan: Document
    version: int
    cancel_requested: bool
    created_at: datetime
    finished_at: datetime | None
    result: Document | None
    counts: dict[str, int]

    @property
    def trials(self) -> int:
        """How many trials it has."""
        return sum(self.counts.values())

    @property
    def progress(self) -> float:
        """The share of its trials that are over, from 0 to 1."""
        live = sum(self.counts.get(state, 0) for state in ("waiting", "queued", "running"))
        return (self.trials - live) / max(1, self.trials)


@final
@dataclass(frozen=True)
class TrialRow:
    """One trial as it is listed: what was varied, its job (None while it waits), and how far that is."""

    number: int
    varied: dict[str, Any]
    job: str | None
    state: str
    reason: str | None
    message: str | None
    progress: float
    score: float | None
