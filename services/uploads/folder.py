"""The files of uploads: {artifacts}/{tenant}/uploads/{id}. On their way in they are hidden and locked, so that what a
crash left behind can be told from what another process is still receiving."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, final

from services.artifacts import disk_space, plain, sync_folder
from services.errors import StorageFull, TooLarge
from services.sql.ids import is_id, new_id

FOLDER: Final = "uploads"
_PART: Final = ".part"


@final
class Arrival:
    """One file on its way in. Closing deletes it, unless it was kept and then settled."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Begin a file of at most `limit` bytes in `folder`."""
        self.id, self._folder, self._limit = new_id(), folder, limit
        self.path = folder / f".{self.id}{_PART}"
        with disk_space():
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._digest, self.size, self._settled = hashlib.sha256(), 0, False

    def __enter__(self) -> Self:
        """The arrival itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Leave nothing behind that nobody asked to keep."""
        if not self._settled:
            self.path.unlink(missing_ok=True)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def write(self, piece: bytes) -> None:
        """Take the next bytes: TooLarge beyond the limit, StorageFull when the disk is."""
        self.size += len(piece)
        if self.size > self._limit:
            raise too_large(self._limit)
        self._digest.update(piece)
        with disk_space():
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._file, rest) :]

    @property
    def sha256(self) -> str:
        """The hash of what has come in so far."""
        return self._digest.hexdigest()

    def keep(self) -> str:
        """Make the file durable under its own name, which is returned."""
        final = self._folder / self.id
        with disk_space():
            os.fsync(self._file)
            self.path.replace(final)
            self.path = final
            sync_folder(self._folder)
        return self.id

    def settle(self) -> None:
        """The record knows the file: it stays."""
        self._settled = True


@final
class UploadFolder:
    """Where the files of all tenants' uploads lie."""

    def __init__(self, artifacts: Path) -> None:
        """Keep them under the folder of artifacts."""
        self.artifacts = artifacts.absolute()

    def receive(self, tenant: str, limit: int, expected: int = 0) -> Arrival:
        """Begin to take in a file; TooLarge or StorageFull when it is `expected` not to fit."""
        if expected > limit:
            raise too_large(limit)
        folder = self._of(tenant)
        with disk_space():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if expected > (free := shutil.disk_usage(folder).free):
            hint = "Delete data sets or finished jobs that are not needed any more."
            raise StorageFull(f"The server has room for {free:,} bytes, not for {expected:,}.", hint=hint)
        return Arrival(folder, limit)

    def path(self, tenant: str, file: str) -> Path:
        """Where a file lies, by the name that its row gives."""
        if not is_id(file):
            raise ValueError(f"{file!r} is no file of ours")
        return self._of(tenant) / file

    def _of(self, tenant: str) -> Path:
        return self.artifacts / plain(tenant) / FOLDER

    def remove(self, tenant: str, file: str) -> None:
        """Delete a file; nothing happens when it is gone."""
        self.path(tenant, file).unlink(missing_ok=True)

    def sweep(self, known: Callable[[], set[str]]) -> list[Path]:
        """Delete what a crash left behind: half-received files, and files that no row knows; returns their paths."""
        there = sorted(self.artifacts.glob(f"*/{FOLDER}/*"))
        rows = known() if there else set()
        abandoned = [path for path in there if path.name not in rows and _abandoned(path)]
        # Whoever held one of them may have recorded it in the meantime.
        rows = known() if abandoned else set()
        gone = [path for path in abandoned if path.name not in rows]
        for path in gone:
            path.unlink(missing_ok=True)
        return gone


def _abandoned(path: Path) -> bool:
    """Whether nobody is receiving this file any more."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def too_large(limit: int) -> TooLarge:
    """The refusal of a file beyond the limit."""
    return TooLarge(
        f"The file is larger than {limit:,} bytes.",
        hint="Send a part of it, or raise TRAINYARD_MAX_UPLOAD_BYTES on the server.",
    )
