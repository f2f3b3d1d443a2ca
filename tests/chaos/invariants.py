"""What must hold whatever happened, checked over record and files. Each rule gives its violations in plain words."""

import itertools
import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final

from sqlalchemy import Connection, RowMapping, Table, select, text

from services.jobs import TERMINAL, Artifact
from services.sql.engine import reading
from services.sql.schema import artifacts, attempts, checkpoints, events, jobs, metrics, outbox
from tests.chaos.yard import Yard

CLOCK_SLACK: Final = 0.002
"""Seconds; moments are kept in milliseconds or finer."""
RUN_SLACK: Final = 0.5
"""Seconds for each attempt, between the clock of the wall and the one that does not jump."""


@final
@dataclass(frozen=True)
class Evidence:
    """A quiet yard, and what is expected of it.

    `references` names for a job the uninterrupted job of the same spec; `expected` the final state of a job (succeeded
    where nothing is said); `refused` how many stale writes were refused, `blind_below` how many there must be at least.
    """

    yard: Yard
    references: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, Sequence[str]] = field(default_factory=dict)
    refused: int = 0
    blind_below: int = 0

    @classmethod
    def of(cls, yard: Yard, references: Mapping[str, str], *, blind_below: int = 0, **more: Any) -> "Evidence":
        """The evidence of a yard at this moment."""
        return cls(yard, references, refused=yard.refused_writes(), blind_below=blind_below, **more)

    @cached_property
    def rows(self) -> dict[str, dict[str, list[RowMapping]]]:
        """Every row of the accepted jobs, by table and job."""
        with reading(self.yard.engine) as connection:
            tables = (attempts, events, metrics, checkpoints, artifacts)
            return {table.name: self._by_job(connection, table) for table in tables}

    def _by_job(self, connection: Connection, table: Table) -> dict[str, list[RowMapping]]:
        found: dict[str, list[RowMapping]] = defaultdict(list)
        for row in connection.execute(select(table).order_by(*table.primary_key.columns)).mappings():
            found[row["job"]].append(row)
        return found

    @cached_property
    def jobs(self) -> dict[str, RowMapping]:
        """The rows of all jobs."""
        with reading(self.yard.engine) as connection:
            return {row["id"]: row for row in connection.execute(select(jobs)).mappings()}

    def known(self) -> Iterator[tuple[str, RowMapping]]:
        """The accepted jobs that the record knows."""
        return ((id, self.jobs[id]) for id in self.yard.accepted if id in self.jobs)


def accepted_jobs_end(e: Evidence) -> Iterator[str]:
    """I1: every acknowledged job is there and has ended as it should."""
    for id in e.yard.accepted:
        row = e.jobs.get(id)
        if row is None:
            yield f"job {id} was acknowledged and is not in the record"
        elif row["state"] not in e.expected.get(id, ("succeeded",)):
            how = f"{row['state']} after {row['attempt']} attempts: {row['reason']}, {row['message']}"
            yield f"job {id} ({row['name']}) is {how}"


def one_ending(e: Evidence) -> Iterator[str]:
    """I2: one final event, and the state is that of the last state event."""
    for id, row in e.known():
        said = [event["to_state"] for event in e.rows["job_events"][id] if event["kind"] == "state"]
        finals = [state for state in said if state in TERMINAL]
        if len(finals) != 1:
            yield f"job {id} has {len(finals)} final events: {', '.join(finals)}"
        if not said or said[-1] != row["state"]:
            yield f"job {id} is {row['state']}, its last event says {said[-1:]}"


def one_holder(e: Evidence) -> Iterator[str]:
    """I3: attempts are 1, 2, 3, …, all ended, and never two at a time."""
    for id, row in e.known():
        tries = e.rows["attempts"][id]
        if [one["number"] for one in tries] != list(range(1, row["attempt"] + 1)):
            yield f"job {id} counts {row['attempt']} attempts and has {[one['number'] for one in tries]}"
        yield from (f"job {id} attempt {one['number']} has no end" for one in tries if one["finished_at"] is None)
        for first, second in itertools.pairwise(tries):
            if first["finished_at"] and (second["started_at"] - first["finished_at"]).total_seconds() < -CLOCK_SLACK:
                yield f"job {id}: attempt {second['number']} began before {first['number']} had ended"


def fence_holds(e: Evidence) -> Iterator[str]:
    """I3: once an attempt has been ended, nothing that it says is written any more."""
    for id, _ in e.known():
        ended = 0
        for event in e.rows["job_events"][id]:
            if event["kind"] != "state" and event["attempt"] <= ended:
                yield f"job {id}: {event['kind']} {event['number']} of attempt {event['attempt']} came after its end"
            elif event["to_state"] in ("queued", *TERMINAL):
                ended = event["attempt"]


def metrics_once(e: Evidence) -> Iterator[str]:
    """I4: every step of every series once, none beyond the end, and no replay that differed."""
    for id, row in e.known():
        keys = [(point["step"], point["name"]) for point in e.rows["metrics"][id]]
        if len(keys) != len(set(keys)):
            yield f"job {id} has {len(keys) - len(set(keys))} duplicated metric rows"
        if row["total_steps"] is not None and any(step > row["total_steps"] for step, _ in keys):
            yield f"job {id} has metrics beyond step {row['total_steps']}"
        alarms = [event for event in e.rows["job_events"][id] if event["kind"] == "diagnostic"]
        yield from (f"job {id}: {a['data']}" for a in alarms if a["data"].get("code") == "replay_differs")


def bit_equal(e: Evidence) -> Iterator[str]:
    """I5: result, model files and metric series equal those of the uninterrupted run, bit for bit."""
    for id, reference in e.references.items():
        if id not in e.jobs or e.jobs[id]["state"] != "succeeded":
            continue
        if e.jobs[reference]["attempt"] != 1:
            yield f"the reference {reference} was interrupted itself"
        for part, mine in _outcome(e, id).items():
            if mine != _outcome(e, reference)[part]:
                about = f"{e.jobs[id]['name']}, {e.jobs[id]['attempt']} attempts"
                yield f"job {id} ({about}): its {part} differ from those of {reference}"


def _outcome(e: Evidence, id: str) -> dict[str, Any]:
    """What must not depend on interruptions; floats by their bits."""
    result = {key: value for key, value in (e.jobs[id]["result"] or {}).items() if key != "train_seconds"}
    series = [(point["step"], point["name"], _bits(point["value"])) for point in e.rows["metrics"][id]]
    files = {row["name"]: (row["size"], row["sha256"]) for row in e.rows["artifacts"][id]}
    return {"results": result, "metric rows": series, "model files": files}


def _bits(value: float | None) -> bytes:
    return struct.pack("<d", math.nan if value is None else value)


def files_as_recorded(e: Evidence) -> Iterator[str]:
    """I6: every recorded file is there with its size and SHA-256, and a model comes from the last attempt."""
    for id, row in e.known():
        rows = [*e.rows["artifacts"][id], *e.rows["checkpoints"][id]]
        for one in rows:
            file = Artifact(one.get("name", f"checkpoint {one.get('step')}"), one["path"], one["sha256"], one["size"])
            if not e.yard.store.verify(file):
                yield f"job {id}: {file.name} is not as recorded ({file.path})"
        stale = [one["name"] for one in e.rows["artifacts"][id] if one["attempt"] != row["attempt"]]
        yield from (f"job {id}: {name} comes from a stale attempt" for name in stale)


def orphan_files(e: Evidence) -> list[Path]:
    """Files that no row refers to: what killed and stale attempts left for the sweep."""
    with reading(e.yard.engine) as connection:
        known = {
            path for table in (artifacts, checkpoints) for path in connection.execute(select(table.c.path)).scalars()
        }
    root = e.yard.store.folder
    return [file for file in root.rglob("*") if file.is_file() and file.relative_to(root).as_posix() not in known]


def nobody_left(e: Evidence) -> Iterator[str]:
    """I7: no process outside the parts, no trainer without a job."""
    yield from (f"an orphan process: {one}" for one in e.yard.orphans())
    yield from (f"a trainer without a job: {one.pid}" for one in e.yard.roles("trainer"))


def sums_add_up(e: Evidence) -> Iterator[str]:
    """I8: the time a job ran is that of its attempts; no bell waits for a job that has ended."""
    with reading(e.yard.engine) as connection:
        waiting = set(connection.execute(select(outbox.c.job)).scalars())
    for id, row in e.known():
        spans = [
            (a["finished_at"] - a["started_at"]).total_seconds() for a in e.rows["attempts"][id] if a["finished_at"]
        ]
        if abs(sum(max(0.0, span) for span in spans) - row["ran_seconds"]) > RUN_SLACK * len(spans) + CLOCK_SLACK:
            yield f"job {id} ran {row['ran_seconds']:.3f} s, its attempts {sum(spans):.3f} s"
        if row["state"] in TERMINAL and id in waiting:
            yield f"job {id} has ended and its bell still waits"


def database_sound(e: Evidence) -> Iterator[str]:
    """I9: the database finds nothing wrong with itself."""
    with reading(e.yard.engine) as connection:
        if connection.dialect.name == "sqlite":
            for check in ("integrity_check", "foreign_key_check"):
                said = [tuple(row) for row in connection.execute(text(f"PRAGMA {check}"))]
                yield from (f"{check}: {row}" for row in said if row != ("ok",))
    log = e.yard.settings.data_dir.parent / "database.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    yield from (line for line in lines if "PANIC" in line or "invalid page" in line or "could not read block" in line)


def stale_writes_refused(e: Evidence) -> Iterator[str]:
    """I10: enough stale writers were refused, else these rules were never put to the test."""
    if e.refused < e.blind_below:
        yield f"{e.refused} stale writers were refused; with fewer than {e.blind_below} the campaign is blind"


def outcomes_visible(e: Evidence) -> Iterator[str]:
    """I11: the API tells every outcome as the record has it, and nothing ended by itself unseen."""
    yield from e.yard.keeper.surprises
    for id, row in e.known():
        told = e.yard.client.get(id)
        if (told.state, told.reason, told.attempt) != (row["state"], row["reason"], row["attempt"]):
            yield f"job {id} is {row['state']} in the record and {told.state} over HTTP"


RULES: Final[Mapping[str, Callable[[Evidence], Iterator[str]]]] = {
    "I1 accepted jobs end": accepted_jobs_end,
    "I2 one ending": one_ending,
    "I3 one holder": one_holder,
    "I3 fence holds": fence_holds,
    "I4 metrics once": metrics_once,
    "I5 bit-equal": bit_equal,
    "I6 files as recorded": files_as_recorded,
    "I7 nobody left": nobody_left,
    "I8 sums add up": sums_add_up,
    "I9 database sound": database_sound,
    "I10 stale writes refused": stale_writes_refused,
    "I11 outcomes visible": outcomes_visible,
}


def check(evidence: Evidence) -> dict[str, list[str]]:
    """The violations by rule; empty when everything held."""
    found = {name: list(rule(evidence)) for name, rule in RULES.items()}
    return {name: violations for name, violations in found.items() if violations}
