"""Back up and restore: a consistent copy of record and files, taken while jobs run; put back whole or not at all.

The database is copied through SQLite's online backup, which never stops a writer. Files are written once and never
changed, so what the copied record refers to can be copied afterwards: first by links, which a job's own tidying cannot
take away, then byte for byte, each compared with its SHA-256. A job that runs in the copy is taken up from its last
checkpoint where the copy is started.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

from sqlalchemy import make_url

from services.artifacts import disk_space, sync_folder
from services.errors import Conflict, DataError, NotFound
from services.keys import ADMIN_FILE
from services.receipt import installed, moment
from services.settings import Settings
from services.sql.engine import migrate, open_engine
from services.sql.types import utc_now
from services.uploads.folder import FOLDER as UPLOADS

SCHEMA: Final = "trainyard-backup/v1"
MANIFEST: Final = "manifest.json"
DATABASE: Final = "trainyard.db"
ARTIFACTS: Final = "artifacts"
LINKS: Final = ".backup-"
TRIES: Final = 5
ABANDONED_SECONDS: Final = 86_400.0
_CHUNK: Final = 1 << 20
_FILES: Final = (
    "SELECT path, sha256, size FROM checkpoints UNION SELECT path, sha256, size FROM artifacts "
    f"UNION SELECT tenant || '/{UPLOADS}/' || file, sha256, size FROM uploads ORDER BY path"
)


@final
@dataclass(frozen=True)
class Kept:
    """One file of a backup: `path` below its folder, `size` in bytes."""

    path: str
    sha256: str
    size: int


@final
@dataclass(frozen=True)
class Summary:
    """What a backup holds, or a restore put back; `bad` are files that were missing or damaged at the source."""

    folder: Path
    jobs: int
    files: int
    size: int
    bad: tuple[str, ...] = ()


def backup(settings: Settings, folder: Path) -> Summary:
    """Copy record, files and admin key into a new `folder`. Conflict on PostgreSQL (it says what to do instead) and
    where the folder is in use; StorageFull leaves nothing behind."""
    source = _sqlite_file(settings, _dump_words(settings, folder))
    if not source.is_file():
        raise NotFound("database", str(source))
    with _whole(folder) as fresh, disk_space():
        snapshot, kept, bad = fresh / DATABASE, list[Kept](), list[str]()
        for _ in range(TRIES):
            _snapshot(source, snapshot)
            kept, bad = _copy_files(_rows(snapshot), settings.artifacts_dir, fresh / ARTIFACTS)
            if not bad:
                break
        _forget_others(fresh / ARTIFACTS, kept)
        kept += [_copy(path, fresh / path.name) for path in [settings.data_dir / ADMIN_FILE] if path.is_file()]
        kept.append(_described(snapshot, DATABASE))
        jobs = _count(snapshot)
        _write_manifest(fresh, jobs, kept, bad)
    return Summary(folder, jobs, len(kept), sum(file.size for file in kept), tuple(bad))


def restore(settings: Settings, folder: Path) -> Summary:
    """Put a backup back into the (new or empty) data folder of the settings, all of it verified first.

    NotFound when there is none, DataError when it is damaged, Conflict when the data folder is in use or the settings
    name a PostgreSQL.
    """
    words = "The settings name a PostgreSQL, and this puts back into a data folder."
    target = _sqlite_file(
        settings, (words, "Unset TRAINYARD_DATABASE_URL; `trainyard move URL` goes there afterwards.")
    )
    if target != settings.data_dir / DATABASE:
        hint = "Unset TRAINYARD_DATABASE_URL and restore into the data folder."
        raise Conflict("The database would lie outside the data folder.", hint=hint)
    manifest = _read_manifest(folder)
    files = [Kept(**file) for file in manifest["files"]]
    if broken := [file.path for file in files if not _sound(folder / file.path, file)]:
        hint = "Take another backup; this one must not be trusted."
        raise DataError(f"The backup is damaged: {_listed(broken)}.", hint=hint)
    outside = not settings.artifacts_dir.is_relative_to(settings.data_dir)
    with contextlib.ExitStack() as both, disk_space():
        # Entered last, so put in place first: without a record nobody looks at the files.
        data = both.enter_context(_whole(settings.data_dir))
        inside = data / settings.artifacts_dir.relative_to(settings.data_dir) if not outside else None
        store = inside or both.enter_context(_whole(settings.artifacts_dir))
        for file in files:
            below = Path(file.path)
            inner = below.parts[0] == ARTIFACTS
            _copy(folder / below, store / below.relative_to(ARTIFACTS) if inner else data / below)
        engine = open_engine(f"sqlite:///{data / DATABASE}")
        migrate(engine)
        engine.dispose()
    return Summary(settings.data_dir, int(manifest["jobs"]), len(files), sum(file.size for file in files))


def _sqlite_file(settings: Settings, otherwise: tuple[str, str]) -> Path:
    """The file of the record; Conflict with these words where it is a PostgreSQL."""
    url = make_url(settings.database)
    if url.get_backend_name() != "sqlite":
        raise Conflict(otherwise[0], hint=otherwise[1])
    return Path(url.database or "").absolute()


def _dump_words(settings: Settings, folder: Path) -> tuple[str, str]:
    """What to do where the record is a PostgreSQL; no password is shown."""
    url = make_url(settings.database).render_as_string(hide_password=True)
    dump = f"pg_dump --format=custom --file={folder / 'trainyard.dump'} '{url}'"
    files = f"cp -a {settings.artifacts_dir} {folder / ARTIFACTS}"
    return (
        "The record is a PostgreSQL, which has its own tool for this.",
        f"First `{dump}`, then `{files}`: files are never changed, so what the dump refers to is in the later copy.",
    )


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A private folder that takes the place of `folder` once everything in it is written; nothing stays otherwise."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is not empty.", hint="Name a folder that does not exist yet; nothing was changed.")
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    fresh.mkdir(mode=0o700)
    try:
        yield fresh
        for place, _, _ in os.walk(fresh):
            sync_folder(Path(place))
        if folder.exists():
            folder.rmdir()
        fresh.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _snapshot(source: Path, target: Path) -> None:
    """The database as it is at one moment, as a single file."""
    target.unlink(missing_ok=True)
    closing = contextlib.closing
    with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    target.chmod(0o600)


def _rows(snapshot: Path) -> list[Kept]:
    """Every file that the record refers to."""
    with contextlib.closing(sqlite3.connect(snapshot)) as raw:
        return [Kept(*row) for row in raw.execute(_FILES)]


def _count(snapshot: Path) -> int:
    """How many jobs there are; DataError when the copy is not a sound database."""
    with contextlib.closing(sqlite3.connect(snapshot)) as raw:
        if (said := raw.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            raise DataError(f"The database is damaged: {said}.", hint="Restore the last sound backup.")
        return int(raw.execute("SELECT count(*) FROM jobs").fetchone()[0])


def _copy_files(files: list[Kept], store: Path, target: Path) -> tuple[list[Kept], list[str]]:
    """Copy files of the store: (what is there now, paths that are missing or not as recorded)."""
    kept, bad = [], []
    with _held(files, store) as places:
        for file in files:
            copied = target / file.path
            if not _sound(copied, file):
                copied.unlink(missing_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    _copy(places.get(file.path, store / file.path), copied)
            if _sound(copied, file):
                kept.append(Kept(f"{ARTIFACTS}/{file.path}", file.sha256, file.size))
            else:
                copied.unlink(missing_ok=True)
                bad.append(file.path)
    return kept, bad


@contextlib.contextmanager
def _held(files: list[Kept], store: Path) -> Iterator[Mapping[str, Path]]:
    """Links to files, so that they stay while they are copied; where a file system has no links, nothing is held."""
    links, places = store / f"{LINKS}{secrets.token_hex(4)}", {}
    for abandoned in store.glob(f"{LINKS}*"):
        if abandoned.stat().st_mtime < time.time() - ABANDONED_SECONDS:
            shutil.rmtree(abandoned, ignore_errors=True)
    try:
        for number, file in enumerate(files):
            links.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                os.link(store / file.path, links / str(number))
                places[file.path] = links / str(number)
        yield places
    finally:
        shutil.rmtree(links, ignore_errors=True)


def _copy(source: Path, target: Path) -> Kept:
    """Copy one file durably and describe the copy."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with source.open("rb") as old, open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
        shutil.copyfileobj(old, new, _CHUNK)
        new.flush()
        os.fsync(new.fileno())
    return _described(target, target.name)


def _described(path: Path, name: str) -> Kept:
    with path.open("rb") as file:
        return Kept(name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _sound(path: Path, file: Kept) -> bool:
    """Whether a file is there as described."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return _described(path, path.name).sha256 == file.sha256


def _forget_others(target: Path, kept: list[Kept]) -> None:
    """Delete files of an earlier try that the last snapshot does not refer to."""
    wanted = {target.parent / file.path for file in kept}
    for place, _, names in os.walk(target):
        for path in (Path(place, name) for name in names):
            if path not in wanted:
                path.unlink()


def _write_manifest(folder: Path, jobs: int, files: list[Kept], bad: list[str]) -> None:
    about: dict[str, Any] = {
        "schema": SCHEMA, "trainyard": installed("trainyard"), "made_at": moment(utc_now()), "jobs": jobs,
        "missing": bad, "files": [asdict(file) for file in files],
    }  # fmt: skip
    path = folder / MANIFEST
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(about, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _read_manifest(folder: Path) -> dict[str, Any]:
    """What a backup says about itself; its paths must stay inside it."""
    try:
        about: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        paths = [Path(file["path"]) for file in about["files"]]
    except FileNotFoundError:
        raise NotFound("backup", str(folder)) from None
    except (ValueError, KeyError, TypeError) as problem:
        raise DataError(f"{folder / MANIFEST} cannot be read: {problem}") from None
    if about.get("schema") != SCHEMA or any(path.is_absolute() or ".." in path.parts for path in paths):
        raise DataError(f"{folder / MANIFEST} is no manifest of ours.")
    return about


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
