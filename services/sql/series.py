"""Metric series: committed exactly once, read together with the live tail, thinned without losing extremes."""

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, and_, insert, literal, select

from services.sql.engine import insert_many
from services.sql.schema import events, metrics
from services.sql.types import cleaned, utc_now
from services.sql.values import MetricPoint

MetricRow = tuple[int, str, float]
FEWEST: Final = 2


def commit(connection: Connection, job: str, attempt: int, rows: Sequence[MetricRow]) -> None:
    """Add metric rows; one that is committed already stays, and if it differs, a diagnostic event says so."""
    fresh = {(int(step), cleaned(name)): float(value) for step, name, value in rows}
    for key, old in _committed(connection, job, fresh).items():
        again = fresh.pop(key, old)
        if again != old and not (math.isnan(again) and math.isnan(old)):
            _alarm(connection, job, attempt, key, old, again)
    now = utc_now()
    table = [
        {"job": job, "step": step, "name": name, "attempt": attempt, "value": value, "at": now}
        for (step, name), value in fresh.items()
    ]
    insert_many(connection, metrics, table)


def _committed(
    connection: Connection, job: str, fresh: Mapping[tuple[int, str], float]
) -> dict[tuple[int, str], float]:
    """Rows already there in the range of steps of `fresh`; normally none."""
    if not fresh:
        return {}
    steps = [step for step, _ in fresh]
    found = select(metrics.c.step, metrics.c.name, metrics.c.value).where(
        metrics.c.job == job, metrics.c.step.between(min(steps), max(steps))
    )
    return {(row.step, row.name): row.value for row in connection.execute(found)}


def _alarm(connection: Connection, job: str, attempt: int, key: tuple[int, str], old: float, new: float) -> None:
    """A replayed step that gives other numbers is a bug worth seeing."""
    step, name = key
    data = {"code": "replay_differs", "step": step, "name": name, "committed": old, "replayed": new}
    row = {"job": job, "attempt": attempt, "kind": "diagnostic", "step": step, "data": data, "at": utc_now()}
    connection.execute(insert(events).values(row))


def read(connection: Connection, job: RowMapping, names: Sequence[str] | None, since: int | None) -> list[MetricPoint]:
    """Committed rows, then the current attempt's metric events past the checkpoint; by step, then name."""
    points = {(point.step, point.name): point for point in _live(connection, job, since)}
    points |= {(point.step, point.name): point for point in _rows(connection, job["id"], names, since)}
    wanted = points.values() if names is None else [p for p in points.values() if p.name in names]
    return sorted(wanted, key=lambda point: (point.step, point.name))


def _rows(connection: Connection, job: str, names: Sequence[str] | None, since: int | None) -> Iterable[MetricPoint]:
    where = metrics.c.job == job if since is None else and_(metrics.c.job == job, metrics.c.step >= since)
    where = where if names is None else and_(where, metrics.c.name.in_(names))
    table = select(metrics.c.step, metrics.c.name, metrics.c.value, metrics.c.attempt, metrics.c.at).where(where)
    return (MetricPoint(*row) for row in connection.execute(table))


def _live(connection: Connection, job: RowMapping, since: int | None) -> Iterable[MetricPoint]:
    past = max(-1 if job["checkpoint_step"] is None else job["checkpoint_step"], (since or 0) - 1)
    # Written out, not bound: only so can a database use the index of events of this kind.
    tail = select(events).where(
        events.c.job == job["id"],
        events.c.kind == literal("metric", literal_execute=True),
        events.c.attempt == job["attempt"],
        events.c.step > past,
    )
    for row in connection.execute(tail.order_by(events.c.number)).mappings():
        yield from _points(row)


def _points(row: RowMapping) -> Iterable[MetricPoint]:
    """The points of one metric event: its data holds step and values."""
    values: dict[str, Any] = row["data"].get("values") or {}
    for name, value in values.items():
        yield MetricPoint(row["step"], name, math.nan if value is None else float(value), row["attempt"], row["at"])


def digest(connection: Connection, job: str) -> tuple[int, str]:
    """How many rows a job has committed, and the SHA-256 over them, by step, then name: a line `step name value` each,
    tabs between, the value as C99 writes a float with all its bits (`0x1.8p+1`, `nan`)."""
    found = hashlib.sha256()
    rows = sorted(committed(connection, job).items())
    for (step, name), value in rows:
        found.update(f"{step}\t{name}\t{value.hex()}\n".encode())
    return len(rows), found.hexdigest()


def committed(connection: Connection, job: str) -> dict[tuple[int, str], float]:
    """Every committed value by step and name."""
    return {(point.step, point.name): point.value for point in _rows(connection, job, None, None)}


def thin(points: Sequence[MetricPoint], most: int) -> list[MetricPoint]:
    """At most `most` (2 or more) points per name, in order; the smallest and the largest of each name stay."""
    by_name: dict[str, list[MetricPoint]] = {}
    for point in points:
        by_name.setdefault(point.name, []).append(point)
    kept = [point for series in by_name.values() for point in _thin_one(series, max(most, FEWEST))]
    return sorted(kept, key=lambda point: (point.step, point.name))


def _thin_one(series: list[MetricPoint], most: int) -> list[MetricPoint]:
    """First and last point, and the extremes of equal stretches between them."""
    if len(series) <= most:
        return series
    if most < 2 * FEWEST:
        return _extremes(series)
    inner, stretches = series[1:-1], (most - 2) // 2
    bounds = [round(i * len(inner) / stretches) for i in range(stretches + 1)]
    middle = [p for a, b in itertools.pairwise(bounds) for p in _extremes(inner[a:b])]
    return [series[0], *middle, series[-1]]


def _extremes(stretch: list[MetricPoint]) -> list[MetricPoint]:
    """The smallest and the largest of a stretch in their order; NaN counts only where there is nothing else."""
    numbers = [i for i, point in enumerate(stretch) if not math.isnan(point.value)] or [0]
    low = min(numbers, key=lambda i: stretch[i].value)
    high = max(numbers, key=lambda i: stretch[i].value)
    return [stretch[i] for i in sorted({low, high})]
