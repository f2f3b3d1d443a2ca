"""The bell ringer: a thread that reads the outbox after commits and rings a doorbell for each job that waits.

A doorbell carries no truth. If it is lost, a worker finds the job when it next looks into the queue; so nothing
here retries.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, final

from services.jobs import JobStore

logger = logging.getLogger("trainyard.bells")

BATCH: Final = 100
REST_SECONDS: Final = 0.05
"""Between two rounds: jobs that come in quick succession share one look into the outbox and one commit."""


@final
class Bells:
    """Rings whatever the outbox holds: at once after `wake()`, otherwise every `seconds`."""

    def __init__(self, jobs: JobStore, ring: Callable[[Sequence[str]], object], seconds: float = 1.0) -> None:
        self.jobs, self.ring, self.seconds = jobs, ring, seconds
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="bells", daemon=True)

    def start(self) -> None:
        """Begin; call once."""
        self._thread.start()

    def wake(self) -> None:
        """Something was committed: look now."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=5)

    def ring_all(self) -> int:
        """Empty the outbox once; how many bells were rung."""
        due = self.jobs.bells(BATCH)
        if not due or self.ring(due) is False:
            # The broker is away: the bells stay due, and a worker that looks for itself is as good.
            return 0
        self.jobs.rung(due)
        return len(due)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self.seconds)
            self._wake.clear()
            try:
                while not self._stop.is_set() and self.ring_all():
                    pass
            except Exception:
                # The thread must outlive a database that is away for a while.
                logger.exception("the outbox could not be read; trying again")
            self._stop.wait(REST_SECONDS)
