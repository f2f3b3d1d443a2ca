"""Keeps disk and record from growing for ever: files that no row knows, jobs past their time, keys past theirs.

Every worker's main process asks now and then; a row of the record says whose turn it is: one process at a time.
Each round looks at a bounded number of files and goes on there the next time. A file is deleted only when it is older
than a day (a setting), no row refers to it, and it is not of a running attempt.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Final, final

from sqlalchemy import Connection, Engine, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from kernels.source import fingerprint
from services.artifacts import ArtifactStore
from services.errors import Conflict, NotFound
from services.jobs import TERMINAL, JobState, JobStore
from services.settings import Settings
from services.sql.engine import reading, writing
from services.sql.schema import artifacts, checkpoints, idempotency, jobs, upkeep, uploads, workers
from services.sql.types import utc_now
from services.uploads.folder import FOLDER as UPLOADS

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 600.0
"""How often a round is due, whoever makes it."""
MOST_FILES: Final = 5_000
MOST_JOBS: Final = 100
MOST_PAGES: Final = 2_000
KEEP_REQUESTS: Final = timedelta(days=7)
"""How long an Idempotency-Key is remembered."""
KEEP_WORKERS: Final = timedelta(days=1)
"""How long the row of a worker that fell silent stays."""
KEEP_KERNELS: Final = timedelta(days=30)
NEWEST_KERNELS: Final = 3
"""Folders of compiled kernels that always stay: one for each version of source, Python and Numba."""


@final
@dataclass(frozen=True)
class Done:
    """What one round removed; `freed` in bytes on disk."""

    files: int = 0
    freed: int = 0
    jobs: int = 0
    rows: int = 0

    def __bool__(self) -> bool:
        return any(vars(self).values())


@final
@dataclass
class Upkeep:
    """The rounds of one process."""

    engine: Engine
    store: ArtifactStore
    keep_finished: timedelta | None
    orphan_age: timedelta
    kernels: Path | None = None
    after: tuple[str, str] = field(default=("", ""))
    """The (tenant, job) folder that the last round ended with."""

    @classmethod
    def of(cls, engine: Engine, settings: Settings) -> "Upkeep":
        """As the settings want it."""
        days, hours = settings.keep_finished_days, settings.orphan_hours
        keep = timedelta(days=days) if days else None
        base = os.environ.get("TRAINYARD_KERNEL_CACHE") or Path.home() / ".cache" / "trainyard" / "kernels"
        return cls(engine, ArtifactStore(settings.artifacts_dir), keep, timedelta(hours=hours), Path(base))

    def round_if_due(self, every: float = ROUND_SECONDS) -> Done | None:
        """A round, if the last one of any process is `every` seconds ago; None otherwise."""
        if not my_turn(self.engine, "sweep", every):
            return None
        done = self.round()
        if done:
            log.info("upkeep: %d files and %d jobs gone, %d bytes freed, %d rows", *vars(done).values())
        return done

    def round(self) -> Done:
        """Everything once, bounded."""
        gone, freed = self._finished_jobs()
        rows = self._rows()
        files, more = self._orphans()
        self._old_kernels()
        self._shrink()
        return Done(files, freed + more, gone, rows)

    # Jobs past their time

    def _finished_jobs(self) -> tuple[int, int]:
        """Delete finished jobs that are older than the setting says, oldest first: (jobs, bytes freed)."""
        if self.keep_finished is None:
            return 0, 0
        past = select(jobs.c.tenant, jobs.c.id).where(
            jobs.c.state.in_([str(state) for state in TERMINAL]), jobs.c.finished_at < utc_now() - self.keep_finished
        )
        with reading(self.engine) as connection:
            found = connection.execute(past.order_by(jobs.c.finished_at).limit(MOST_JOBS)).all()
        gone, freed = 0, 0
        for tenant, id in found:
            with contextlib.suppress(Conflict, NotFound):
                JobStore(self.engine).delete(tenant, id)
                freed += self.store.remove(tenant, id)
                gone += 1
        return gone, freed

    def _rows(self) -> int:
        """Forget old Idempotency-Keys and workers that were not seen for long: how many rows."""
        now = utc_now()
        with writing(self.engine) as connection:
            keys = connection.execute(delete(idempotency).where(idempotency.c.at < now - KEEP_REQUESTS))
            silent = connection.execute(delete(workers).where(workers.c.seen_at < now - KEEP_WORKERS))
            return keys.rowcount + silent.rowcount

    def _shrink(self) -> None:
        """Give pages that deleted rows left back to the file system; PostgreSQL's autovacuum does it by itself."""
        if self.engine.dialect.name != "sqlite":
            return
        with contextlib.closing(self.engine.raw_connection()) as pooled:
            raw = pooled.driver_connection
            assert raw is not None
            # Each step frees one page, and only a script is run to its last step where nothing has columns.
            raw.executescript(f"PRAGMA incremental_vacuum({MOST_PAGES})")

    # Files that no row knows

    def _orphans(self) -> tuple[int, int]:
        """Look at the next folders of jobs and delete what nobody refers to: (files, bytes)."""
        folders = sorted(_job_folders(self.store.folder))
        turn = [f for f in folders if f > self.after] + [f for f in folders if f <= self.after]
        looked, gone, freed = 0, 0, 0
        for tenant, job in turn:
            # Listed before the rows are read: a file whose row comes later is not among them, or its row is seen.
            old = [path for path in _files(self.store.folder / tenant / job) if self._is_old(path)]
            looked += len(old) + 1
            for path in self._unknown(tenant, job, old):
                size = path.lstat().st_size if path.exists() else 0
                path.unlink(missing_ok=True)
                gone, freed = gone + 1, freed + size
            if job != UPLOADS and not self._is_live(job):
                _remove_empty(self.store.folder / tenant / job)
            self.after = (tenant, job)
            if looked >= MOST_FILES:
                break
        return gone, freed

    def _is_live(self, job: str) -> bool:
        """Whether somebody may still write into the job's folder."""
        live = select(jobs.c.id).where(jobs.c.id == job, jobs.c.state.not_in([str(state) for state in TERMINAL]))
        with reading(self.engine) as connection:
            return connection.execute(live).first() is not None

    def _is_old(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return path.lstat().st_mtime < time.time() - self.orphan_age.total_seconds()
        return False

    def _unknown(self, tenant: str, job: str, files: list[Path]) -> list[Path]:
        """Those files of one folder that no row refers to."""
        if not files:
            return []
        with reading(self.engine) as connection:
            if job == UPLOADS:
                known = {str(name) for name in connection.execute(select(uploads.c.file)).scalars()}
                return [path for path in files if path.name not in known]
            if (running := _running_attempt(connection, job)) is not None:
                files = [path for path in files if path.parent.name != f"a{running}"]
            named = {path: path.relative_to(self.store.folder).as_posix() for path in files}
            known = _referred(connection, list(named.values()))
        return [path for path in files if named[path] not in known]

    # Compiled kernels of other versions

    def _old_kernels(self) -> None:
        """Folders of compiled kernels that no worker used for long, but for the newest few. Every round marks those of
        this very source as used; the others are made anew when somebody needs them."""
        if self.kernels is None or not self.kernels.is_dir():
            return
        for ours in self.kernels.glob(f"*-{fingerprint()}"):
            os.utime(ours)
        folders = sorted((f for f in self.kernels.iterdir() if f.is_dir()), key=lambda f: -f.stat().st_mtime)
        for folder in folders[NEWEST_KERNELS:]:
            if folder.stat().st_mtime < time.time() - KEEP_KERNELS.total_seconds():
                shutil.rmtree(folder, ignore_errors=True)


def my_turn(engine: Engine, name: str, every: float) -> bool:
    """Whether this caller is the one to do `name` now: at most one in `every` seconds, over all processes.

    A clock that was set back does not stop the rounds: a last time far in the future counts as long ago.
    """
    now, pause = utc_now(), timedelta(seconds=every)
    due = or_(upkeep.c.at <= now - pause, upkeep.c.at > now + pause)
    with writing(engine) as connection:
        if connection.execute(update(upkeep).where(upkeep.c.name == name, due).values(at=now)).rowcount:
            return True
        if connection.execute(select(upkeep.c.at).where(upkeep.c.name == name)).first() is not None:
            return False
    try:
        with writing(engine) as connection:
            connection.execute(insert(upkeep).values(name=name, at=now))
    except IntegrityError:
        return False
    return True


def _running_attempt(connection: Connection, job: str) -> int | None:
    """The attempt that holds the job now."""
    mine = select(jobs.c.attempt).where(jobs.c.id == job, jobs.c.state == str(JobState.RUNNING))
    found: int | None = connection.execute(mine).scalar()
    return found


def _referred(connection: Connection, paths: list[str]) -> set[str]:
    """Those paths that a model or a checkpoint of any job refers to: a retry shares its parent's."""
    known: set[str] = set()
    pending = iter(paths)
    while some := list(islice(pending, 500)):
        for table in (artifacts, checkpoints):
            found = connection.execute(select(table.c.path).where(table.c.path.in_(some))).scalars()
            known |= {str(path) for path in found}
    return known


def _job_folders(base: Path) -> Iterator[tuple[str, str]]:
    """(tenant, job or `uploads`) of every folder in the store."""
    for tenant in _folders(base):
        if tenant.name.startswith("."):
            # Links of a backup that is being made.
            continue
        for job in _folders(tenant):
            yield tenant.name, job.name


def _folders(base: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(base) as found:
        yield from (Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False))


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, links not followed."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _remove_empty(folder: Path) -> None:
    """Take away the empty folders of attempts, then the job's own if it is empty too."""
    for place in [*_folders(folder), folder]:
        with contextlib.suppress(OSError):
            place.rmdir()
