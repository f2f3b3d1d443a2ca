"""What is kept of a trial's job once it is over, so that a study stands even when the job is deleted."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping

from services.sql import series
from services.sql.values import MetricPoint

POINTS: Final = 120
"""Points of each series that are kept; minima and maxima stay."""
_KEPT: Final = ("test", "validation", "metrics", "epochs", "train_seconds", "device", "baseline", "gradient_noise")

Outcome = dict[str, Any]


def outcome_of(connection: Connection, row: RowMapping) -> Outcome:
    """State, reason, message, scores and thinned series of a job that is over."""
    result: Mapping[str, Any] = row["result"] or {}
    told = {name: row[name] for name in ("state", "reason", "message", "step", "total_steps", "attempt")}
    kept = {name: result[name] for name in _KEPT if name in result}
    points = series.thin(series.read(connection, row, None, None), POINTS)
    return told | kept | {"series": by_name(points)}


def by_name(points: Sequence[MetricPoint]) -> dict[str, list[list[float]]]:
    """[step, value] by metric; what is no number becomes null when it is recorded."""
    found: dict[str, list[list[float]]] = {}
    for point in points:
        found.setdefault(point.name, []).append([point.step, point.value])
    return found


def without_job(state: str, message: str) -> Outcome:
    """The outcome of a trial that never had a job, or whose job was deleted before it was looked at."""
    return {"state": state, "reason": None, "message": message, "series": {}}
