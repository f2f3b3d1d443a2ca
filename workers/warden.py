"""Watches over this machine's processes from a worker's main process: nobody who is stopped may hold the others up."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, final

from services.sql.held import Held, stopped

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 1.0
#: Long after the job of a stopped supervisor has been given to somebody else, its place in the pool is given, too.
STOPPED_SECONDS: Final = 60.0


def children() -> list[int]:
    """The processes that this one has started: a worker's pool."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found


@final
class Warden:
    """Ends pool processes that are stopped for good, and whoever holds SQLite's write lock without writing."""

    def __init__(
        self,
        database: str,
        silent_seconds: float,
        pool: Callable[[], Iterable[int]] = children,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the database of this URL and the processes that `pool` lists."""
        self._held, self._pool, self._clock = Held(database, clock), pool, clock
        self._patience = max(STOPPED_SECONDS, 2 * silent_seconds)
        self._stopped: dict[int, float] = {}

    def round(self) -> None:
        """Look once."""
        self._held.look()
        now = self._clock()
        self._stopped = {pid: self._stopped.get(pid, now) for pid in self._pool() if stopped(pid)}
        for pid, since in self._stopped.items():
            if now - since >= self._patience:
                log.error("pool process %d has been stopped for %.0f s; it is ended and replaced", pid, now - since)
                os.kill(pid, signal.SIGKILL)

    def watch(self, over: threading.Event) -> None:
        """Rounds until `over` is set."""
        while not over.wait(ROUND_SECONDS):
            try:
                self.round()
            except Exception:
                log.exception("a round of the warden failed")
