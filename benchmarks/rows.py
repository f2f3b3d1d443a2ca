"""Synthetic rows: a record as it looks after years, written straight into the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, insert

from benchmarks.load import small_job
from services.spec import check_job, parse_job
from services.sql.engine import writing
from services.sql.ids import new_id
from services.sql.rows import columns_of
from services.sql.schema import events, jobs, metrics, outbox
from services.sql.types import utc_now

PIECE = 5_000
NAMES = ("loss", "val_loss", "accuracy", "val_accuracy")


def pieces(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in lists of a size that a statement takes."""
    piece: list[dict[str, Any]] = []
    for row in rows:
        piece.append(row)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def add_jobs(engine: Engine, count: int, *, state: str = "queued", device: str = "cpu", tenants: int = 1) -> list[str]:
    """Jobs with a real spec and plan, their first event, and a bell where they are queued; returns their ids."""
    wanted = parse_job(small_job())
    spec, outline, now, ids = wanted.model_dump(mode="json"), check_job(wanted).outline, utc_now(), []
    fixed = columns_of(spec) | {"spec": spec, "outline": outline, "device": device, "state": state}
    done = {"result": {"test": {"accuracy": 0.9}}, "finished_at": now, "started_at": now, "attempt": 1}
    fixed |= {"created_at": now, "not_before": now} | (done if state == "succeeded" else {})
    event = {"attempt": 0, "kind": "state", "to_state": "queued", "data": {"state": "queued"}, "at": now}
    for piece in pieces({"id": new_id(), "tenant": f"t{n % tenants}", **fixed} for n in range(count)):
        with writing(engine) as connection:
            connection.execute(insert(jobs), piece)
            connection.execute(insert(events), [{"job": row["id"], **event} for row in piece])
            if state == "queued":
                connection.execute(insert(outbox), [{"job": row["id"], "due_at": now, "rings": 0} for row in piece])
        ids += [row["id"] for row in piece]
    return ids


def add_metrics(engine: Engine, job: str, points: int) -> None:
    """So many committed metric rows of one job, four names a step."""
    now = utc_now()
    rows = (
        {"job": job, "step": n // 4 + 1, "name": NAMES[n % 4], "attempt": 1, "value": 1.0 / (n + 1), "at": now}
        for n in range(points)
    )
    for piece in pieces(rows):
        with writing(engine) as connection:
            connection.execute(insert(metrics), piece)


def add_metric_events(engine: Engine, job: str, steps: int) -> None:
    """So many metric events of one job, as a trainer that tells every step leaves them."""
    now = utc_now()
    rows = (
        {"job": job, "attempt": 1, "kind": "metric", "step": n, "data": {"step": n, "values": {"loss": 1.0}}, "at": now}
        for n in range(1, steps + 1)
    )
    for piece in pieces(rows):
        with writing(engine) as connection:
            connection.execute(insert(events), piece)
