"""Engines for SQLite and PostgreSQL, transactions, and the schema's migrations.

SQLite: WAL, `synchronous=FULL`, and BEGIN IMMEDIATE for every writing transaction, because a transaction that
reads first and writes later fails at once when another one wrote in between, whatever the busy timeout says.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.errors import DatabaseNewer, Invalid, Mistake, StorageFull, TrainyardError, Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

BUSY_SECONDS: Final = 30
_TURNS: Final[WeakKeyDictionary[Engine, tuple[threading.Lock, int]]] = WeakKeyDictionary()
_BUSY_PAUSE: Final = 0.01
_PRIMARY_CODE: Final = 0xFF  # the low byte of an extended SQLite error code
_WRITES: Final = "trainyard_writes"
_MIGRATION_LOCK: Final = 7_239_015_512
#: PostgreSQL for a while takes no writes, or has ended an idle transaction: psycopg calls both an internal error.
_PASSING: Final = frozenset({"25006", "25P03"})
#: A server that is gone without a word is noticed within half a minute.
_POSTGRES_LINE: Final = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_POSTGRES_LIMITS: Final = "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=10s"


def open_engine(url: str, *, busy_seconds: int = BUSY_SECONDS) -> Engine:
    """An engine for `sqlite:///file` or `postgresql://…`; opens no connection yet.

    On SQLite a writer waits `busy_seconds` for its turn; PostgreSQL has limits of its own. Never carry an engine over a
    fork: open one per process.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(url, busy_seconds)
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        return _open_postgresql(parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False))
    known = "sqlite:///file.db or postgresql://user@host/name"
    raise Invalid([Mistake("database_url", "unknown_database", f"{parsed.drivername!r} is not supported", known)])


def _open_sqlite(url: str, busy_seconds: int) -> Engine:
    file = make_url(url).database
    if not file or file == ":memory:":
        raise Invalid([Mistake("database_url", "needs_file", "SQLite needs a file: processes share it", None)])
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": busy_seconds}, pool_size=16, max_overflow=48)
    _TURNS[engine] = threading.Lock(), busy_seconds
    event.listen(engine, "connect", _tune_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(raw: sqlite3.Connection, _record: object) -> None:
    """Take transactions into our own hands, then make commits durable."""
    raw.isolation_level = None
    if not raw.execute("PRAGMA page_count").fetchone()[0]:
        # Only a new file takes it: then pages of deleted rows can be given back (see `services.upkeep`).
        raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _write_ahead(raw)
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("PRAGMA foreign_keys = ON")


def _write_ahead(raw: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; the file remembers it, so only the first process to open a new file has work.

    SQLite's own waiting does not cover this change: with two processes at a new file, one is told "locked" at once.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as problem:
            busy = problem.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE)


def _begin_sqlite(connection: Connection) -> None:
    """Say BEGIN ourselves: the driver would say it too late."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _open_postgresql(url: str) -> Engine:
    return create_engine(
        url, connect_args={"options": _POSTGRES_LIMITS, "tcp_user_timeout": 30_000, **_POSTGRES_LINE},
        pool_size=8, max_overflow=56, pool_pre_ping=True,
    )  # fmt: skip


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One writing transaction: committed at the end, rolled back by any exception."""
    with _translated(), _turn(engine), engine.connect() as plain:
        connection = plain.execution_options(**{_WRITES: True})
        with connection.begin():
            yield connection


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """Threads of one process write to SQLite one after the other, without a pause between.

    SQLite itself would have them sleep up to a tenth of a second and look again; that is left for other processes.
    """
    if engine not in _TURNS:
        yield
        return
    lock, patience = _TURNS[engine]
    if not lock.acquire(timeout=patience):
        raise Unavailable
    try:
        yield
    finally:
        lock.release()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One reading transaction: on SQLite a snapshot, which never waits for a writer."""
    with _translated(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's complaints about the outside world into our own; a broken rule stays an IntegrityError."""
    try:
        yield
    except (IntegrityError, TrainyardError):
        raise
    except (OperationalError, PoolTimeout) as problem:
        raise _outside(problem) from problem
    except DBAPIError as problem:
        if problem.connection_invalidated or getattr(problem.orig, "sqlstate", None) in _PASSING:
            raise Unavailable from problem
        raise


def _outside(problem: Exception) -> TrainyardError:
    words = str(problem).lower()
    if "disk is full" in words or "no space left" in words:
        return StorageFull("The database has no space left.", hint="Free some disk space; nothing was corrupted.")
    return Unavailable()


def _alembic() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision; safe when several processes do it at once."""
    from alembic import command

    config = _alembic()
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            _wait_for_turn(connection)
        _refuse_newer(connection, config)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _refuse_newer(connection: Connection, config: "Config") -> None:
    """DatabaseNewer when a revision is in force that this program does not know."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if unknown := set(MigrationContext.configure(connection).get_current_heads()) - known:
        raise DatabaseNewer(
            f"The database has the schema {', '.join(sorted(unknown))}, which a newer Trainyard made; this one knows"
            f" {max(known)}.",
            hint="Start the newer version, or restore the backup that was made before it.",
        )


def _wait_for_turn(connection: Connection) -> None:
    """Only one process migrates a PostgreSQL at a time; the others wait, then find nothing to do."""
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


def one_at_a_time(connection: Connection, what: str) -> None:
    """Wait until no other transaction does `what`, and keep others waiting until this one ends.

    On SQLite there is only ever one writing transaction.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:what))"), {"what": what})


def ping(engine: Engine) -> None:
    """Ask the database for a sign of life; Unavailable when there is none."""
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))


def insert_many(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or nothing at all when there are none."""
    if rows:
        connection.execute(table.insert(), rows)
