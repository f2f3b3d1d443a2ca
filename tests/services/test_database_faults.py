"""Databases that are cut, locked, read-only or newer than the program: the fence finds out, nobody falls over."""

import contextlib
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from services.errors import DatabaseNewer, LeaseLost, Unavailable
from services.jobs import Checkpoint, JobState, JobStore
from services.lease import Lease
from services.sql.engine import migrate, open_engine, ping, reading, writing
from services.sql.migrations import versions
from workers.ledger import OUTAGE, Pace, insist

VERSIONS = Path(next(iter(versions.__path__)))


@pytest.fixture
def admin(postgresql_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A session beside the product's."""
    with psycopg.connect(postgresql_url, autocommit=True) as session:
        yield session


def cut_all(admin: psycopg.Connection[Any]) -> int:
    """End every other session, as an administrator or a failover does."""
    found = admin.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    ).fetchone()
    assert found is not None
    return int(found[0])


def test_sessions_cut_between_two_calls_are_not_noticed(
    postgresql_engine: Engine, admin: psycopg.Connection[Any]
) -> None:
    store = JobStore(postgresql_engine)
    job, _ = store.submit("t", {}, {})
    for _ in range(3):
        assert cut_all(admin) >= 1
        assert store.get("t", job.id).state is JobState.QUEUED


@pytest.fixture
def cut_after_commit(postgresql_engine: Engine, admin: psycopg.Connection[Any]) -> Iterator[list[int]]:
    """The next commits happen, but their answer is lost: put numbers of commits to spare into the list."""
    plan: list[int] = []
    dialect = postgresql_engine.dialect
    commit = dialect.do_commit

    def lossy(connection: Any) -> None:
        commit(connection)
        if plan and plan.pop(0) == 0:
            cut_all(admin)
            connection.execute("SELECT 1")

    dialect.do_commit = lossy  # type: ignore[method-assign]
    yield plan
    dialect.do_commit = commit  # type: ignore[method-assign]


def _insist(write: Any) -> Any:
    return insist(write, Pace(retry=0.01))


def test_a_checkpoint_whose_commit_was_not_answered_is_written_again_without_harm(
    postgresql_engine: Engine, cut_after_commit: list[int]
) -> None:
    store = JobStore(postgresql_engine)
    job, _ = store.submit("t", {}, {})
    lease = Lease.claim(postgresql_engine, "w", {"cpu"})
    assert lease is not None
    place = Checkpoint(3, "t/j/a1/checkpoint-3", "0" * 64, 1)
    cut_after_commit.append(0)
    flags = _insist(lambda: lease.checkpoint(place, [(3, "loss", 0.5)]))
    assert flags.dropped == ()
    assert [(point.step, point.value) for point in store.metrics("t", job.id)] == [(3, 0.5)]
    assert store.diagnostics("t", job.id) == []
    lease.succeed("completed", {}, [])


def test_a_success_whose_commit_was_not_answered_is_found_out_by_the_fence(
    postgresql_engine: Engine, cut_after_commit: list[int]
) -> None:
    store = JobStore(postgresql_engine)
    job, _ = store.submit("t", {}, {})
    lease = Lease.claim(postgresql_engine, "w", {"cpu"})
    assert lease is not None
    cut_after_commit.append(0)
    with pytest.raises(LeaseLost):
        _insist(lambda: lease.succeed("completed", {"a": 1}, []))
    finals = [e for e in store.events("t", job.id) if e.data.get("state") == "succeeded"]
    assert (store.get("t", job.id).state, len(finals)) == (JobState.SUCCEEDED, 1)


def test_a_post_whose_commit_was_not_answered_makes_one_job_when_it_is_repeated_with_its_key(
    postgresql_engine: Engine, cut_after_commit: list[int]
) -> None:
    store = JobStore(postgresql_engine)
    cut_after_commit.append(0)
    job, created = _insist(lambda: store.submit("t", {}, {}, idempotency_key="k"))
    assert not created
    assert [found.id for found in store.find("t").items] == [job.id]


def _delete_around(engine: Engine, between: Callable[[], object]) -> None:
    """Delete every job in one transaction, with something that happens in its middle."""
    with writing(engine) as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        connection.execute(text("DELETE FROM jobs"))
        between()
        connection.execute(text("DELETE FROM jobs"))


def test_a_session_cut_in_the_middle_of_a_transaction_is_an_outage_and_keeps_nothing(
    postgresql_engine: Engine, admin: psycopg.Connection[Any]
) -> None:
    store = JobStore(postgresql_engine)
    job, _ = store.submit("t", {}, {})
    with pytest.raises(OUTAGE):
        _delete_around(postgresql_engine, lambda: cut_all(admin))
    assert store.get("t", job.id).id == job.id
    ping(postgresql_engine)


def test_a_database_that_takes_no_writes_is_unavailable_and_readers_go_on(
    postgresql_engine: Engine, admin: psycopg.Connection[Any]
) -> None:
    store = JobStore(postgresql_engine)
    job, _ = store.submit("t", {}, {})
    admin.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        postgresql_engine.dispose()
        with pytest.raises(Unavailable):
            store.submit("t", {}, {})
        assert store.get("t", job.id).id == job.id
    finally:
        admin.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
        postgresql_engine.dispose()
    store.submit("t", {}, {})


def test_a_session_that_idles_inside_a_transaction_is_an_outage(postgresql_engine: Engine) -> None:
    with pytest.raises(OUTAGE):
        _delete_around(postgresql_engine, lambda: time.sleep(0.3))
    ping(postgresql_engine)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A SQLite database of its own."""
    engine = open_engine(f"sqlite:///{tmp_path}/trainyard.db")
    migrate(engine)
    yield tmp_path / "trainyard.db"
    engine.dispose()


def test_a_writer_waits_only_as_long_as_it_was_told(file: Path) -> None:
    engine = open_engine(f"sqlite:///{file}", busy_seconds=1)
    store = JobStore(engine)
    job, _ = store.submit("t", {}, {})
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(Unavailable):
            store.request_cancel("t", job.id)
        assert time.monotonic() - began < 15
        assert store.get("t", job.id).state is JobState.QUEUED
        other.execute("ROLLBACK")
    assert store.request_cancel("t", job.id).state is JobState.CANCELLED
    engine.dispose()


def test_a_holder_insists_through_a_lock_and_goes_on(file: Path) -> None:
    engine = open_engine(f"sqlite:///{file}", busy_seconds=0)
    store = JobStore(engine)
    store.submit("t", {}, {})
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    freed = threading.Timer(0.3, other.execute, ("ROLLBACK",))
    freed.start()
    insist(lease.beat, Pace(retry=0.02))
    freed.join()
    other.close()
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(engine: Engine) -> None:
    with writing(engine) as connection:
        known = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(DatabaseNewer, match="9999"):
            migrate(engine)
        with reading(engine) as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
    finally:
        with writing(engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :known"), {"known": known})


@pytest.mark.parametrize("script", sorted(VERSIONS.glob("0*.py")), ids=lambda path: path.stem)
def test_a_migration_only_adds_so_that_programs_of_the_version_before_go_on(script: Path) -> None:
    upgrade = script.read_text().partition("def downgrade")[0]
    done = set(re.findall(r"\bop\.(\w+)\(", upgrade))
    # An index may go: no program names one, so the version before only looks in another way.
    assert done <= {"create_table", "create_index", "drop_index", "add_column", "execute", "get_bind"}
    columns = re.findall(r"op\.add_column\((.+)\)", upgrade)
    assert all("nullable=True" in column or "server_default" in column for column in columns)
