"""Live events: one poller per process reads the new rows of every watched job once and hands them to all who watch.

A watcher reads what was committed, then listens, then reads once more; the event number says what it has seen.
So there is no gap and no duplicate, whichever process answers and however often the client comes back.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from starlette.concurrency import run_in_threadpool

from services.errors import NotFound
from services.jobs import TERMINAL, Event, JobStore

logger = logging.getLogger("trainyard.sse")

PAGE: Final = 500
BACKLOG: Final = 2_000
SWEEP_SECONDS: Final = 2.0


def is_last(event: Event) -> bool:
    """Whether `event` says that the job has finished: nothing follows it."""
    return event.kind == "state" and event.data.get("state") in TERMINAL


@final
@dataclass(eq=False)
class Listener:
    """One watcher's queue; `behind` says that it overflowed and that the watcher must read the record again."""

    queue: "asyncio.Queue[Event | None]" = field(default_factory=lambda: asyncio.Queue(BACKLOG))
    behind: bool = False

    def hear(self, event: Event | None) -> None:
        """Queue `event` (None: there will be no more), or note that there was no room."""
        if self.queue.full():
            self.behind = True
        else:
            self.queue.put_nowait(event)


@final
@dataclass(eq=False)
class Channel:
    """What is watched of one job: up to which event the poller has read, and who listens."""

    tenant: str
    job: str
    after: int
    listeners: set[Listener] = field(default_factory=set)

    def hand_out(self, events: Sequence[Event]) -> None:
        """Give new events to every listener."""
        for event in events:
            for listener in self.listeners:
                listener.hear(event)
            self.after = event.number

    def close(self) -> None:
        """Send everybody home."""
        for listener in self.listeners:
            listener.hear(None)


@final
class Stream:
    """The fan-out of one process: `run` polls for as long as the process serves, `watch` is one client's stream."""

    def __init__(self, jobs: JobStore, seconds: float = 0.25) -> None:
        self.jobs, self.seconds = jobs, seconds
        self.channels: dict[str, Channel] = {}
        self._somebody = asyncio.Event()
        self.closed = False
        self._last, self._swept = -1, 0.0

    @property
    def watchers(self) -> int:
        """How many clients are watching."""
        return sum(len(channel.listeners) for channel in self.channels.values())

    async def run(self) -> None:
        """Poll while anybody watches; ends when cancelled."""
        while True:
            await self._somebody.wait()
            try:
                await self._poll()
            except Exception:
                logger.exception("events could not be read; trying again")
            await asyncio.sleep(self.seconds)

    def close(self) -> None:
        """The server is about to end: send every watcher home; they come back with the last number they saw."""
        self.closed = True
        for channel in self.channels.values():
            channel.close()

    async def watch(self, tenant: str, job: str, after: int) -> AsyncIterator[Event]:
        """The events of a job numbered above `after`, ending after the one that says it has finished."""
        # A job that is deleted while somebody watches has nothing more to tell.
        with contextlib.suppress(NotFound):
            async for event in self._committed(tenant, job, after):
                yield event
                after = event.number
                if is_last(event):
                    return
            with self._listening(tenant, job, after) as listener:
                async for event in self._live(tenant, job, after, listener):
                    yield event

    async def _live(self, tenant: str, job: str, after: int, listener: Listener) -> AsyncIterator[Event]:
        """Read the record once more (and whenever the listener fell behind), then what the poller hands out."""
        listener.behind = True
        while True:
            if listener.behind:
                listener.behind = False
                async for event in self._committed(tenant, job, after):
                    yield event
                    after = event.number
                    if is_last(event):
                        return
                if self.closed or await self._over(tenant, job, after):
                    return
            heard = await listener.queue.get()
            if heard is None:
                return
            if heard.number > after:
                yield heard
                after = heard.number
                if is_last(heard):
                    return

    async def _committed(self, tenant: str, job: str, after: int) -> AsyncIterator[Event]:
        while page := await run_in_threadpool(self.jobs.events, tenant, job, after, PAGE):
            for event in page:
                yield event
            after = page[-1].number

    async def _over(self, tenant: str, job: str, after: int) -> bool:
        """A client that has seen the last event and comes back must not wait for ever."""
        found = await run_in_threadpool(self.jobs.get, tenant, job)
        return found.terminal and not await run_in_threadpool(self.jobs.events, tenant, job, after, 1)

    @contextlib.contextmanager
    def _listening(self, tenant: str, job: str, after: int) -> Iterator[Listener]:
        channel = self.channels.setdefault(job, Channel(tenant, job, after))
        listener = Listener()
        channel.listeners.add(listener)
        self._somebody.set()
        try:
            yield listener
        finally:
            channel.listeners.discard(listener)
            if not channel.listeners:
                self.channels.pop(job, None)
            if not self.channels:
                self._somebody.clear()

    async def _poll(self) -> None:
        """Look at the watched jobs when anything happened anywhere.

        Two transactions may commit in the other order of their numbers, so the hint is not trusted for ever.
        """
        last = await run_in_threadpool(self.jobs.last_event_number)
        now = time.monotonic()
        sweep = now - self._swept >= SWEEP_SECONDS
        if last == self._last and not sweep:
            return
        since, self._last = (None if sweep else self._last), last
        marks = {job: channel.after for job, channel in self.channels.items()}
        for job, events in (await run_in_threadpool(self.jobs.news, marks, since, PAGE)).items():
            if channel := self.channels.get(job):
                channel.hand_out(events)
        if sweep:
            self._swept = now
            for job in await run_in_threadpool(self.jobs.gone, list(marks)):
                if channel := self.channels.get(job):
                    channel.close()
