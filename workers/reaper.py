"""Takes jobs from holders that have fallen silent, and rings again for jobs that wait.

Runs in every worker's main process; several at once are safe, because the record lets only one of them win. Silence is
judged on this process's own monotonic clock: wrong clocks and restarts cannot make a living job look dead.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from services.jobs import JobStore, Pulse
from workers.ledger import OUTAGE

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 2.0


@final
@dataclass(frozen=True)
class Observed:
    """What is known of one attempt: its counter, and since when (monotonic seconds) it stands there."""

    beats: int
    since: float


@final
class Reaper:
    """One watch over the record; call `round` again and again."""

    def __init__(
        self,
        store: JobStore,
        ring: Callable[[Sequence[str]], bool],
        silent_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        also: Callable[[], object] = lambda: None,
    ) -> None:
        """Start with nothing observed, so that no job counts as silent before `silent_seconds` have passed here.

        `also` is done in every round before bells are rung: studies move on there.
        """
        self._store, self._ring, self._silent, self._clock = store, ring, silent_seconds, clock
        self._also = also
        self._absent = max(silent_seconds, 5 * ROUND_SECONDS)
        self._observed: dict[tuple[str, int], Observed] = {}
        self._looked = float("-inf")

    def round(self) -> None:
        """Look once: reap who is silent, move studies on, ring for who waits.

        After a round that failed, or a pause as long as the silence, counting begins anew: while nobody could write, or
        this process did not run, silence proves nothing.
        """
        try:
            self._reap()
        except BaseException:
            self._observed = {}
            raise
        self._also()
        self._ring_again()

    def _reap(self) -> None:
        now, pulses = self._clock(), self._store.pulses()
        before, self._observed = self._observed if now - self._looked < self._absent else {}, {}
        self._looked = now
        for pulse in pulses:
            known = before.get((pulse.job, pulse.attempt), Observed(pulse.beats, now))
            if known.beats == pulse.beats and now - known.since >= self._silent:
                self._take(pulse)
            else:
                still = known if known.beats == pulse.beats else Observed(pulse.beats, now)
                self._observed[pulse.job, pulse.attempt] = still

    def _take(self, pulse: Pulse) -> None:
        state = self._store.reap(pulse.job, pulse.attempt, pulse.beats)
        if state is not None:
            log.warning("job %s attempt %d: %s is silent; now %s", pulse.job, pulse.attempt, pulse.worker, state)

    def _ring_again(self) -> None:
        due = self._store.bells()
        if due and self._ring(due):
            self._store.rung(due)


def watch(reaper: Reaper, over: threading.Event, between: Callable[[Callable[[], None]], None]) -> None:
    """Rounds until `over` is set; each runs through `between`, which may guard it."""
    while not over.wait(ROUND_SECONDS):
        try:
            between(reaper.round)
        except OUTAGE as error:
            log.warning("the record does not answer: %s", error)
        except Exception:
            log.exception("a round of the reaper failed")
