"""Databases for the record's tests: every test that asks for `engine` runs on SQLite and on PostgreSQL.

PostgreSQL is a private cluster on a Unix socket, made from the machine's own binaries and removed afterwards.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from services.jobs import JobStore
from services.sql.engine import migrate, open_engine, writing
from services.sql.schema import METADATA


def _binaries() -> Path | None:
    """The folder of the newest PostgreSQL programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[4]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _other_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: who it runs as instead, in words of subprocess."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _start(binaries: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Make a cluster in `folder` and start it: nothing in it needs to survive, so nothing is synced."""
    who = _other_user()
    if who:
        os.chown(folder, who["user"], who["group"])
    data = folder / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    make: list[str | Path] = ["-D", data, "-U", "trainyard", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run([binaries / "initdb", *make], check=True, **quiet, **who)
    settings = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "autovacuum=off")
    options = [word for setting in settings for word in ("-c", setting)]
    command: list[str | Path] = [binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", *options]
    return subprocess.Popen(command, text=False, **quiet, **who)


def _wait(address: str, seconds: float = 20.0) -> None:
    """Return once the server answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(address).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A running PostgreSQL with an empty database."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL programs on this machine")
    folder = Path(tempfile.mkdtemp(prefix="trainyard-pg-"))
    server = _start(binaries, folder)
    try:
        _wait(f"host={folder} user=trainyard dbname=postgres")
        yield f"postgresql://trainyard@/postgres?host={folder}"
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
