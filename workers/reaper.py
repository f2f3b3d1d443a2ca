"""Takes jobs from holders that have fallen silent, and rings again for jobs that wait.

Runs in every worker's main process; several at once are safe, because the record lets only one of them win. Silence is
judged on this process's own monotonic clock: wrong clocks and restarts cannot make a living job look dead.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, final

from services.jobs import JobStore, Pulse
from workers.ledger import OUTAGE

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 2.0


@final
class Reaper:
    """One watch over the record; call `round` again and again."""

    def __init__(
        self,
        store: JobStore,
        ring: Callable[[str], bool],
        silent_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        also: Callable[[], object] = lambda: None,
    ) -> None:
        """Start with nothing observed, so that no job counts as silent before `silent_seconds` have passed here.

        `also` is done in every round before bells are rung: studies move on there.
        """
        self._store, self._ring, self._silent, self._clock = store, ring, silent_seconds, clock
        self._also = also
        self._observed: dict[tuple[str, int], tuple[int, float]] = {}

    def round(self) -> None:
        """Look once: reap who is silent, move studies on, ring for who waits."""
        self._reap()
        self._also()
        self._ring_again()

    def _reap(self) -> None:
        now, pulses = self._clock(), self._store.pulses()
        before, self._observed = self._observed, {}
        for pulse in pulses:
            beats, since = before.get((pulse.job, pulse.attempt), (pulse.beats, now))
            if beats == pulse.beats and now - since >= self._silent:
                self._take(pulse)
            else:
                self._observed[pulse.job, pulse.attempt] = (pulse.beats, since if beats == pulse.beats else now)

    def _take(self, pulse: Pulse) -> None:
        state = self._store.reap(pulse.job, pulse.attempt, pulse.beats)
        if state is not None:
            log.warning("job %s attempt %d: %s is silent; now %s", pulse.job, pulse.attempt, pulse.worker, state)

    def _ring_again(self) -> None:
        rung: list[str] = []
        for job in self._store.bells():
            if not self._ring(job):
                break
            rung.append(job)
        if rung:
            self._store.rung(rung)


def watch(reaper: Reaper, over: threading.Event, between: Callable[[Callable[[], None]], None]) -> None:
    """Rounds until `over` is set; each runs through `between`, which may guard it."""
    while not over.wait(ROUND_SECONDS):
        try:
            between(reaper.round)
        except OUTAGE as error:
            log.warning("the record does not answer: %s", error)
        except Exception:
            log.exception("a round of the reaper failed")
