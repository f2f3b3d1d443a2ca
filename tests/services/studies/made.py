"""Trials with planted outcomes: what a kind concludes can be compared with what was put in."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.studies.kind import Base, Trial
from tests.services.jobs_to_post import IRIS


def study(kind: str, **more: Any) -> dict[str, Any]:
    """A study of the iris job."""
    return {"type": kind, "job": IRIS, **more}


def base(metric: str = "accuracy", better: Any = "max", rows: int = 1000, batch: int = 10) -> Base:
    """A base whose outline says no more than conclusions need."""
    outline = {"rows": {"train": rows, "validation": 10, "test": 10}, "steps_per_epoch": rows // batch}
    return Base({**IRIS, "task": "classification"}, outline, metric, better)


def trial(
    varied: Mapping[str, Any],
    series: Mapping[str, Sequence[tuple[int, float | None]]] | None = None,
    *,
    number: int = 0,
    state: str = "succeeded",
    reason: str = "completed",
    rows: int = 1000,
    batch: int = 10,
    **outcome: Any,
) -> Trial:
    """A trial that is over."""
    outline = {
        "rows": {"train": rows, "validation": 10, "test": 10},
        "batch_size": batch,
        "steps_per_epoch": max(1, rows // batch),
    }
    told = {"state": state, "reason": reason, "message": None, "series": dict(series or {}), **outcome}
    return Trial(number, {"seed": 0, **varied}, {}, outline, f"job-{number}", state, told)
