"""Small files that only their owner may read: written in one step, by one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IWGRP, S_IWOTH

from services.errors import Forbidden


def read_private(file: Path) -> str | None:
    """The text of the file without its line break; None when there is no such file."""
    return file.read_text().strip() if file.exists() else None


def write_private(file: Path, text: str) -> None:
    """Replace the file in one step; never readable by others, not even for a moment."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Keep other processes away from `file`, whose folder is made if need be, private."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = file.with_name(f"{file.name}.lock")
    with open(os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def check_kernel_cache() -> None:
    """Forbidden when others could write into the folder of compiled kernels: numba's cache is pickle, so what they
    wrote would be executed. The folder is made, private, if there is none."""
    folder = Path(os.environ.get("TRAINYARD_KERNEL_CACHE") or Path.home() / ".cache" / "trainyard" / "kernels")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (S_IWGRP | S_IWOTH):
        hint = "Run `chmod 700` on it as its owner, or name another folder in TRAINYARD_KERNEL_CACHE."
        raise Forbidden(f"Others may write into {folder}, from where compiled kernels are executed.", hint=hint)
