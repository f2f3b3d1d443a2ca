"""From rows to values, and back from a spec to the columns that the queue orders and filters by."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select

from services.sql.schema import checkpoints
from services.sql.types import cleaned
from services.sql.values import Attempt, Checkpoint, Event, Job, JobState, Reason

PRIORITIES: Final = {"low": -10, "normal": 0, "high": 10}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_JOB_FIELDS: Final = tuple(field.name for field in fields(Job))


def job_of(row: RowMapping) -> Job:
    """A row of `jobs` as a Job."""
    values: dict[str, Any] = {name: row[name] for name in _JOB_FIELDS}
    reason = None if row["reason"] is None else Reason(row["reason"])
    return Job(**values | {"state": JobState(row["state"]), "reason": reason, "labels": tuple(row["labels"])})


def event_of(row: RowMapping) -> Event:
    """A row of `job_events` as an Event."""
    return Event(row["number"], row["job"], row["attempt"], row["kind"], row["data"], row["at"])


def attempt_of(row: RowMapping) -> Attempt:
    """A row of `attempts` as an Attempt."""
    return Attempt(**{field.name: row[field.name] for field in fields(Attempt)})


def checkpoint_of(connection: Connection, row: RowMapping) -> Checkpoint | None:
    """What a job row's `checkpoint_step` points to; None when it was never there or has been deleted."""
    table = checkpoints.c
    columns = select(table.step, table.path, table.sha256, table.size)
    last = columns.where(table.job == row["id"], table.step == row["checkpoint_step"])
    found = connection.execute(last).one_or_none()
    return None if found is None else Checkpoint(*found)


def device_kind(device: str) -> str:
    """ "gpu" for gpu, gpu:0, cuda and cuda:1; every other word as it is."""
    kind = device.split(":", 1)[0].lower()
    return "gpu" if kind == "cuda" else kind


def seconds_of(value: object) -> float | None:
    """Seconds of a number or of a text such as "90s", "1.5h"; None for anything else."""
    if isinstance(value, (int, float)):
        return float(value)
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(found[1]) * _SECONDS[found[2] or "s"] if found else None


def foreseen(outline: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a new job that come out of its plan: operations of a step, and bytes by kind of worker."""
    memory = outline.get("memory") or {}
    needs = {f"memory_{kind}": int((memory.get(kind) or {}).get("total", 0)) for kind in ("cpu", "gpu")}
    return needs | {"flops_per_step": outline.get("flops_per_step")}


def columns_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a new job that come out of its spec."""
    resources = spec.get("resources") or {}
    priority = resources.get("priority", 0)
    return {
        "name": cleaned(str(spec.get("name") or "untitled")),
        "labels": [cleaned(str(label)) for label in spec.get("labels") or ()],
        "device": device_kind(str(resources.get("device") or "auto")),
        "priority": PRIORITIES.get(priority, 0) if isinstance(priority, str) else int(priority or 0),
        "max_runtime": seconds_of(resources.get("max_runtime")),
        "task": None if spec.get("task") is None else cleaned(str(spec["task"])),
    }
