"""The schema: migrations make exactly the tables of the code, and the database refuses what must never be."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, insert, text, update
from sqlalchemy.exc import IntegrityError

from services.errors import Invalid, StorageFull, Unavailable
from services.jobs import JobState, JobStore
from services.lease import Lease
from services.sql.engine import migrate, open_engine, ping, reading, writing
from services.sql.schema import METADATA, events, jobs, metrics
from services.sql.types import utc_now


def _ours(obj: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
    """An index over an expression is never equal to itself for Alembic."""
    return not (kind == "index" and name in {"jobs_in_line", "jobs_by_lane"})


def test_migrations_make_the_tables_of_the_code(engine: Engine) -> None:
    options = {"include_object": _ours, "compare_type": True}
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    job, _ = JobStore(engine).submit("t", {}, {})
    migrate(engine)
    assert JobStore(engine).get("t", job.id) == job


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    engines = [open_engine(f"sqlite:///{tmp_path}/new/trainyard.db") for _ in range(4)]
    threads = [threading.Thread(target=migrate, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        ping(engine)
        engine.dispose()


def test_a_new_file_that_another_process_is_writing_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "trainyard.db"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE theirs (x)")
    threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
    engine = open_engine(f"sqlite:///{file}")
    ping(engine)
    engine.dispose()
    other.close()


def test_sqlite_is_durable_and_checks_references(sqlite_engine: Engine) -> None:
    with reading(sqlite_engine) as connection:
        pragmas = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 2]
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_every_writing_transaction_on_sqlite_begins_immediately(sqlite_engine: Engine) -> None:
    engine, said = open_engine(str(sqlite_engine.url)), list[str]()
    event.listen(engine, "before_cursor_execute", lambda *call: said.append(call[2]))
    store = JobStore(engine)
    store.submit("t", {}, {})
    assert Lease.claim(engine, "w", {"cpu"}) is not None
    store.find("t")
    engine.dispose()
    begins = [line for line in said if line.startswith("BEGIN")]
    assert begins == ["BEGIN IMMEDIATE", "BEGIN", "BEGIN IMMEDIATE", "BEGIN"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db"])
def test_a_database_that_cannot_be_shared_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        open_engine(url)


def test_a_database_that_does_not_answer_is_unavailable() -> None:
    engine = open_engine("postgresql://nobody@/nothing?host=/nonexistent")
    with pytest.raises(Unavailable):
        ping(engine)
    engine.dispose()


def _limited(engine: Engine, pragma: str) -> Engine:
    """Another engine on the same SQLite file, whose connections begin with `pragma`."""
    limited = open_engine(str(engine.url))
    event.listen(limited, "connect", lambda raw, _: raw.execute(f"PRAGMA {pragma}"))
    return limited


def test_a_full_disk_is_said_so_and_spoils_nothing(sqlite_engine: Engine) -> None:
    limited = _limited(sqlite_engine, "max_page_count = 80")
    store = JobStore(limited)
    with pytest.raises(StorageFull):
        list(map(store.submit, ["t"] * 200, [{"filler": "x" * 4000}] * 200, [{}] * 200))
    queued = len(store.find("t", limit=500).items)
    limited.dispose()
    with reading(sqlite_engine) as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    store = JobStore(sqlite_engine)
    store.submit("t", {}, {})
    assert len(store.find("t", limit=500).items) == queued + 1


def test_a_database_locked_for_too_long_is_unavailable_and_readers_go_on(sqlite_engine: Engine) -> None:
    impatient = _limited(sqlite_engine, "busy_timeout = 20")
    with writing(sqlite_engine):
        with pytest.raises(Unavailable):
            JobStore(impatient).submit("t", {}, {})
        assert JobStore(impatient).find("t").items == ()
    JobStore(impatient).submit("t", {}, {})
    impatient.dispose()


def _job_in(store: JobStore, engine: Engine, state: JobState) -> str:
    """The id of a job that came into `state` the allowed way."""
    job, _ = store.submit("t", {}, {})
    if state is JobState.CANCELLED:
        store.request_cancel("t", job.id)
    elif state is not JobState.QUEUED:
        lease = Lease.claim(engine, "w", {"cpu"})
        assert lease is not None
        if state is JobState.SUCCEEDED:
            lease.succeed("completed", {}, [])
        elif state is JobState.FAILED:
            lease.fail("internal_error", "why")
    return job.id


FORBIDDEN = [
    (old, new)
    for old, allowed in {
        JobState.QUEUED: {JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED},
        JobState.SUCCEEDED: set(),
        JobState.FAILED: set(),
        JobState.CANCELLED: set(),
    }.items()
    for new in JobState
    if new not in allowed
]


@pytest.mark.parametrize(("old", "new"), FORBIDDEN, ids=str)
def test_the_database_refuses_a_forbidden_change_of_state(
    store: JobStore, engine: Engine, old: JobState, new: JobState
) -> None:
    id = _job_in(store, engine, old)
    owner = "w" if new is JobState.RUNNING else None
    change = update(jobs).where(jobs.c.id == id).values(state=str(new), owner=owner, result={})
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(change)
    assert store.get("t", id).state is old


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": 0},
        {"owner": None},
        {"state": "queued"},
        {"state": "succeeded", "owner": None},
        {"state": "paused", "owner": None},
    ],
    ids=str,
)
def test_the_database_refuses_a_broken_running_job(store: JobStore, engine: Engine, change: dict[str, Any]) -> None:
    id = _job_in(store, engine, JobState.RUNNING)
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == id).values(change))


def test_the_database_refuses_a_claim_that_takes_no_new_attempt(store: JobStore, engine: Engine) -> None:
    id = _job_in(store, engine, JobState.QUEUED)
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == id).values(state="running", owner="w"))


def test_the_database_refuses_a_second_final_event(store: JobStore, engine: Engine) -> None:
    id = _job_in(store, engine, JobState.SUCCEEDED)
    row = {"job": id, "attempt": 1, "kind": "state", "to_state": "failed", "data": {}, "at": utc_now()}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(events).values(row))


def test_the_database_refuses_two_values_of_one_metric_at_one_step(store: JobStore, engine: Engine) -> None:
    id = _job_in(store, engine, JobState.QUEUED)
    row = {"job": id, "step": 1, "name": "loss", "attempt": 1, "value": 0.5, "at": utc_now()}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(metrics), [row, row | {"value": 0.4}])
