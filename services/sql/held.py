"""A process that stops inside a SQLite transaction holds up every writer there is: find it, and end it if it is ours.

SQLite's write lock is a lock on byte 120 of the `-shm` file, and Linux lists locks with their owners in `/proc/locks`.
Opening the file to ask would be wrong: closing it again would drop the locks of the asking process itself.
"""

import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias, final

log = logging.getLogger(__name__)

HELD_SECONDS: Final = 10.0
_WRITE_LOCK: Final = re.compile(r"POSIX\s+\S+\s+WRITE\s+(\d+)\s+\w+:\w+:(\d+)\s+120\s+120$")
#: Modules by which a command line shows that a process is one of ours and comes back when it is ended.
_OURS: Final = ("workers.main", "api.listen", "api.main:create_app")
#: Holder, when that process started, and what the log of writes looked like.
Sight: TypeAlias = tuple[int, str, int, int]


@final
class Held:
    """One watch over a SQLite file; call `look` about once a second. Nothing to do for any other database."""

    def __init__(self, database: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch the database of this URL."""
        # Here, not above: the launcher watches, too, and must not wait for this import before it starts its children.
        from sqlalchemy import make_url

        url = make_url(database)
        self._file = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        self._clock = clock
        self._seen: Sight | None = None
        self._since = 0.0

    def look(self) -> int | None:
        """Look once; returns the process that was ended because it held the lock and wrote nothing for 10 s."""
        seen = None if self._file is None else sight(self._file)
        if seen is None or seen != self._seen:
            self._seen, self._since = seen, self._clock()
            return None
        if self._clock() - self._since < HELD_SECONDS or seen[0] == os.getpid():
            return None
        self._seen = None
        return _end(seen[0])


def sight(file: Path) -> Sight | None:
    """Who holds the write lock of `file` now, if anybody, and how far the log of writes has come."""
    try:
        pid = writer_of(file)
        if pid is None:
            return None
        log_of_writes = Path(f"{file}-wal").stat()
        return pid, _stat(pid)[19], log_of_writes.st_mtime_ns, log_of_writes.st_size
    except OSError:
        return None


def writer_of(file: Path) -> int | None:
    """The process that holds the write lock of the SQLite database `file`; None when none does or nobody can tell."""
    shared = Path(f"{file}-shm").resolve()
    inode = str(shared.stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        found = _WRITE_LOCK.search(line)
        if found and found[2] == inode and _has_open(int(found[1]), shared):
            return int(found[1])
    return None


def _has_open(pid: int, file: Path) -> bool:
    """Whether a process has this very file open: inode numbers repeat from disk to disk."""
    return any(link.is_symlink() and link.readlink() == file for link in Path(f"/proc/{pid}/fd").iterdir())


def _end(pid: int) -> int | None:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    what = "stopped" if stopped(pid) else "stuck"
    if not any(module in command for module in _OURS):
        log.error("process %d (%s) holds the database's write lock: nobody can write", pid, command)
        return None
    log.error("process %d (%s) is %s inside a transaction and holds up every writer; it is ended", pid, command, what)
    os.kill(pid, signal.SIGKILL)
    return pid


def stopped(pid: int) -> bool:
    """Whether a process is stopped, as by SIGSTOP; one under a debugger is not."""
    try:
        return _stat(pid)[0] == "T"
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """The words of /proc/PID/stat behind the name: the state is the first, the start time number 19."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
