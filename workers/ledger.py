"""What a supervisor has to tell the record: collected, written in batches through the lease, kept through an outage.

Every write is also a heartbeat and brings back the flags that users have set.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, final

from sqlalchemy.exc import DBAPIError

from services.artifacts import ArtifactStore
from services.errors import StorageFull, Unavailable
from services.jobs import Checkpoint, Flags, Progress
from services.lease import Lease
from workers.logs import LogTap
from workers.protocol import CheckpointWritten

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

#: The database does not answer or its disk is full: wait and try again, the trainer goes on meanwhile.
OUTAGE: Final = (Unavailable, StorageFull, DBAPIError)
_HELD_EVENTS: Final = 50_000


@final
@dataclass(frozen=True)
class Pace:
    """How often things are written or given up, in seconds."""

    heartbeat: float = 5.0
    events: float = 0.25
    progress: float = 1.0
    retry: float = 1.0
    outage: float = 600.0
    farewell: float = 10.0
    drain: float = 20.0
    hang: float = 600.0
    hang_steps: float = 20.0


def insist(write: Callable[[], Answer], pace: Pace) -> Answer:
    """What `write` returns once the record answers; after an outage of `pace.outage` seconds, its error."""
    deadline = time.monotonic() + pace.outage
    while True:
        try:
            return write()
        except OUTAGE:
            if time.monotonic() > deadline:
                raise
            time.sleep(pace.retry)


@final
class Ledger:
    """The supervisor's pen. Raises LeaseLost as soon as the job belongs to somebody else."""

    def __init__(self, lease: Lease, store: ArtifactStore, pace: Pace) -> None:
        """Write through `lease` at `pace`; `store` deletes checkpoints that are no longer needed."""
        self.lease, self.cancel, self.stop = lease, False, False
        self.tap = LogTap()
        self._store, self._pace = store, pace
        self._events: list[tuple[str, Mapping[str, Any]]] = []
        self._progress, self._progress_changed = Progress(), False
        self._checkpoint: CheckpointWritten | None = None
        self._data: dict[str, Any] | None = None
        self._written = self._not_before = float("-inf")

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Note an event of kind metric or diagnostic."""
        if len(self._events) < _HELD_EVENTS:
            self._events.append((kind, data))

    def output(self, chunk: bytes) -> None:
        """Note what the trainer printed."""
        for text in self.tap.feed(chunk):
            self.event("log", {"level": "info", "text": text})

    def log(self, level: str, text: str) -> None:
        """Note one log line."""
        for line in self.tap.admit(text):
            self.event("log", {"level": level, "text": line})

    def progress(self, **changed: Any) -> None:
        """Note how far training has come; fields left out keep their value."""
        self._progress, self._progress_changed = replace(self._progress, **changed), True

    def data(self, data: dict[str, Any]) -> None:
        """Note which data is used."""
        self._data = data

    def checkpoint(self, said: CheckpointWritten) -> None:
        """Note a checkpoint; one that could not be written yet hands its metrics on to the next."""
        held = self._checkpoint.metrics if self._checkpoint else []
        self._checkpoint = said.model_copy(update={"metrics": [*held, *said.metrics]})

    def write_if_due(self) -> None:
        """Write what has waited long enough, or a heartbeat."""
        now = time.monotonic()
        if now >= max(self._written + self._patience(), self._not_before):
            self.write()

    def write(self) -> None:
        """Write everything now; during an outage it stays noted and is tried again."""
        try:
            self._write()
        except OUTAGE as error:
            log.warning("the record does not answer: %s", error)
            self._not_before = time.monotonic() + self._pace.retry
        else:
            self._written = time.monotonic()

    def finish(self, last: Callable[[], Answer]) -> Answer:
        """Write what is left, then `last`, the job's next state; insists through an outage, then gives up."""
        for line in self.tap.close():
            self.event("log", {"level": "info", "text": line})

        def rest_and_last() -> Answer:
            self._write()
            return last()

        return insist(rest_and_last, self._pace)

    def _patience(self) -> float:
        if self._events or self._checkpoint or self._data:
            return self._pace.events
        return self._pace.progress if self._progress_changed else self._pace.heartbeat

    def _write(self) -> None:
        if self._data is not None:
            self._heed(self.lease.describe_data(self._data))
            self._data = None
        self._heed(self._events_and_progress())
        self._events, self._progress_changed = [], False
        if self._checkpoint is not None:
            self._heed(self._commit_checkpoint(self._checkpoint))
            self._checkpoint = None

    def _events_and_progress(self) -> Flags:
        if self._events:
            return self.lease.record(self._events, self._progress)
        return self.lease.beat(self._progress if self._progress_changed else None)

    def _commit_checkpoint(self, said: CheckpointWritten) -> Flags:
        place = Checkpoint(said.step, self._store.relative(said.path), said.sha256, said.size)
        keep = (self.lease.job.spec.get("reliability") or {}).get("keep_last", 2)
        return self.lease.checkpoint(place, said.metrics, keep=keep, best=said.best, progress=self._progress)

    def _heed(self, flags: Flags) -> None:
        self.cancel, self.stop = self.cancel or flags.cancel, self.stop or flags.stop
        for path in flags.dropped:
            self._store.remove_file(path)
