"""Files that jobs produce: written durably, named by attempt, never overwritten, found by id alone."""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, final

from services.errors import Conflict, Invalid, Mistake, NotFound, StorageFull
from services.sql.values import Artifact

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CHUNK: Final = 1 << 20


@final
class ArtifactStore:
    """A folder of artifacts: {tenant}/{job}/a{attempt}/{name}. Paths handed out as text are relative to it."""

    def __init__(self, folder: Path) -> None:
        """Keep artifacts under `folder`."""
        self.folder = Path(folder).absolute()

    def attempt_folder(self, tenant: str, job: str, attempt: int) -> Path:
        """The (existing, private) folder one attempt writes into."""
        folder = self.folder / plain(tenant) / plain(job) / f"a{int(attempt)}"
        with disk_space():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def path_for(self, tenant: str, job: str, attempt: int, name: str) -> Path:
        """Where an attempt's file lies; names are ours (letters, digits, `._-`), never a client's."""
        return self.attempt_folder(tenant, job, attempt) / plain(name)

    def relative(self, path: Path | str) -> str:
        """The text form of a path inside the folder, as rows keep it; Invalid outside."""
        return self.resolve(path).relative_to(self.folder).as_posix()

    def resolve(self, path: Path | str) -> Path:
        """The absolute path of a row's path; Invalid when it leads outside the folder, also through a link."""
        found = self.folder / path
        inside = ".." not in found.parts and found.is_relative_to(self.folder) and found != self.folder
        if not inside or not found.resolve().is_relative_to(self.folder.resolve()):
            raise Invalid([Mistake("path", "outside", "this path leads outside the artifact folder")])
        return found

    def write_durable(self, path: Path, data: bytes | Iterable[bytes]) -> tuple[str, int]:
        """Temporary file, fsync, rename, fsync of the folder: (sha256, size). Refuses to overwrite; StorageFull."""
        if path.exists():
            raise Conflict(f"{path.name} is already there; artifacts are never overwritten.")
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with disk_space(), _gone_on_failure(fresh):
            described = _write(fresh, [data] if isinstance(data, bytes) else data)
            fresh.replace(path)
            sync_folder(path.parent)
        return described

    def publish(self, tenant: str, job: str, attempt: int, name: str, data: bytes | Iterable[bytes]) -> Artifact:
        """Write one file of an attempt and describe it."""
        path = self.path_for(tenant, job, attempt, name)
        sha256, size = self.write_durable(path, data)
        return Artifact(name, self.relative(path), sha256, size, attempt)

    def verify(self, artifact: Artifact) -> bool:
        """Whether the bytes on disk have the recorded size and sha256; a place that the disk cannot read has not."""
        path = self.resolve(artifact.path)
        try:
            if not path.is_file() or path.stat().st_size != artifact.size:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256
        except OSError as problem:
            if problem.errno == errno.EIO:
                return False
            raise

    def open(self, artifact: Artifact) -> BinaryIO:
        """The file, for reading; NotFound when it is gone, or a link stands in its place."""
        try:
            return os.fdopen(os.open(self.resolve(artifact.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except OSError as problem:
            if problem.errno not in (errno.ENOENT, errno.ELOOP):
                raise
            raise NotFound("artifact", artifact.name) from None

    def remove(self, tenant: str, job: str) -> int:
        """Delete everything of a job; returns the bytes freed."""
        folder = self.folder / plain(tenant) / plain(job)
        freed = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
        shutil.rmtree(folder, ignore_errors=True)
        return freed

    def remove_file(self, path: str) -> None:
        """Delete one file; nothing happens when it is gone."""
        self.resolve(path).unlink(missing_ok=True)


def plain(name: str) -> str:
    """A name that can be nothing but one step of a path."""
    if _NAME.fullmatch(name) is None:
        raise Invalid([Mistake("name", "bad_name", f"{name!r} is no artifact name", "Letters, digits and . _ - only.")])
    return name


def _write(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    """Write and sync a new private file: (sha256, size)."""
    digest, size = hashlib.sha256(), 0
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=_CHUNK) as file:
        for chunk in chunks:
            digest.update(chunk)
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _gone_on_failure(path: Path) -> Iterator[None]:
    """Leave no half-written file behind."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def disk_space() -> Iterator[None]:
    """A full disk in our own words."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull from problem
        raise
