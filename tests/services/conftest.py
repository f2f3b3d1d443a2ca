"""Databases for the record's tests: every test that asks for `engine` runs on SQLite and on PostgreSQL.

PostgreSQL is a private cluster on a Unix socket, made from the machine's own binaries and removed afterwards.
"""

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.jobs import JobStore
from services.sql.engine import migrate, open_engine, writing
from services.sql.schema import METADATA
from tests import postgres


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A running PostgreSQL with an empty database."""
    programs = postgres.binaries()
    if programs is None:
        pytest.skip("no PostgreSQL programs on this machine")
    folder = Path(tempfile.mkdtemp(prefix="trainyard-pg-"))
    postgres.make_cluster(programs, folder)
    command = postgres.server_command(programs, folder, postgres.QUICK)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    server = subprocess.Popen(command, **quiet, **postgres.other_user())
    try:
        postgres.wait_for_server(folder)
        yield postgres.url_of(folder)
    finally:
        server.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _migrated_postgresql(postgresql_url: str) -> Iterator[Engine]:
    engine = open_engine(postgresql_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all tests: it remembers how its statements compile, which takes longer than running them."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'trainyard.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(_migrated_sqlite: Engine) -> Engine:
    """The migrated SQLite database, emptied."""
    with writing(_migrated_sqlite) as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.execute(table.delete())
    return _migrated_sqlite


@pytest.fixture
def postgresql_engine(_migrated_postgresql: Engine) -> Engine:
    """The migrated PostgreSQL database, emptied."""
    tables = ", ".join(table.name for table in METADATA.sorted_tables)
    with writing(_migrated_postgresql) as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    return _migrated_postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """An empty, migrated database of either kind."""
    chosen: Engine = request.getfixturevalue(f"{request.param}_engine")
    return chosen


@pytest.fixture
def store(engine: Engine) -> JobStore:
    """The jobs in that database."""
    return JobStore(engine)
