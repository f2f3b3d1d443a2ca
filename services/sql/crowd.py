"""Everyone who waits, as one look at the queue found them: how many stand before whom, without counting rows again.

A look costs about two microseconds a job. So a short queue is looked at for every answer, and a long one so rarely that
looking takes a twentieth of the time at most: its positions are a second old, or a few with a hundred thousand jobs.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, groupby
from typing import Any, Final, final

from sqlalchemy import Connection, select

from services.sql.schema import jobs
from services.sql.transitions import due

FEW: Final = 500
"""So many jobs or fewer are looked at anew each time."""
FRESH_SECONDS: Final = 1.0
SHARE: Final = 20
"""Otherwise a look is good for this many times what it took, and for FRESH_SECONDS at least."""
LAST: Final = "~"
"""Stands behind every id: the place of a job that is not submitted yet."""


@final
@dataclass(frozen=True)
class Group:
    """Jobs that compete with a candidate: how many, the seconds of those whose time is known, how many these are."""

    count: int = 0
    seconds: float = 0.0
    known: int = 0
    head: str = LAST

    def __add__(self, other: "Group") -> "Group":
        """Both together."""
        return Group(
            self.count + other.count, self.seconds + other.seconds, self.known + other.known, min(self.head, other.head)
        )

    def some(self, count: int) -> "Group":
        """So many of them, each as long as their mean."""
        share = count / self.count if self.count else 0.0
        return Group(count, self.seconds * share, count if self.known == self.count else 0)


@final
@dataclass(frozen=True)
class Lane:
    """Jobs of one tenant, device and priority, oldest first. `seconds` and `known` are sums up to each job."""

    tenant: str
    device: str
    priority: int
    ids: Sequence[str]
    seconds: Sequence[float]
    known: Sequence[int]

    @classmethod
    def of(cls, tenant: str, device: str, priority: int, rows: Sequence[Any]) -> "Lane":
        """Of rows that end in id and expected seconds."""
        times = [row[-1] for row in rows]
        seconds = list(accumulate(seconds or 0.0 for seconds in times))
        known = list(accumulate(seconds is not None for seconds in times))
        return cls(tenant, device, priority, [row[-2] for row in rows], seconds, known)

    def all(self) -> Group:
        """Everyone in it."""
        return self._first(len(self.ids))

    def older(self, id: str) -> Group:
        """Those submitted before `id`."""
        return self._first(bisect_left(self.ids, id))

    def _first(self, count: int) -> Group:
        return Group(count, self.seconds[count - 1], self.known[count - 1], self.ids[0]) if count else Group()


@final
class Crowd:
    """The queued jobs that may start now, by lane."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        """Of these lanes."""
        self.size = sum(len(lane.ids) for lane in lanes)
        self._lanes = lanes

    @classmethod
    def read(cls, connection: Connection, now: datetime) -> "Crowd":
        """Look at the queue; the index `jobs_by_lane` holds everything, in this order."""
        columns = (jobs.c.device, jobs.c.tenant, jobs.c.priority, jobs.c.id, jobs.c.expected_seconds)
        order = (jobs.c.device, jobs.c.tenant, jobs.c.priority.desc(), jobs.c.id)
        rows = connection.execute(select(*columns).where(due(now)).order_by(*order)).all()
        return cls([Lane.of(t, d, p, list(found)) for (d, t, p), found in groupby(rows, lambda row: row[:3])])

    def groups(self, devices: Collection[str], priority: int) -> dict[tuple[str, str], Group]:
        """By tenant, who is more urgent than `priority` and who is equally urgent."""
        found: dict[tuple[str, str], Group] = {}
        for lane in self._among(devices, priority):
            key = (lane.tenant, "urgent" if lane.priority > priority else "equal")
            found[key] = found.get(key, Group()) + lane.all()
        return found

    def older(self, tenant: str, devices: Collection[str], priority: int, id: str) -> Group:
        """The tenant's equally urgent jobs that were submitted before `id`."""
        mine = [lane for lane in self._among(devices, priority) if (lane.tenant, lane.priority) == (tenant, priority)]
        return sum((lane.older(id) for lane in mine), Group())

    def _among(self, devices: Collection[str], priority: int) -> Iterator[Lane]:
        return (lane for lane in self._lanes if lane.device in devices and lane.priority >= priority)


@final
class Crowds:
    """The last look at one database's queue, shared by threads."""

    def __init__(self) -> None:
        """No look yet."""
        self._lock = threading.Lock()
        self._last: tuple[Crowd, float] | None = None

    def seen(self, connection: Connection, now: datetime) -> Crowd:
        """The queue as it is, or was a moment ago where it is long."""
        if (crowd := self._fresh()) is not None:
            return crowd
        with self._lock:
            if (crowd := self._fresh()) is not None:
                return crowd
            began = time.monotonic()
            crowd = Crowd.read(connection, now)
            took = time.monotonic() - began
            good = 0.0 if crowd.size <= FEW else max(FRESH_SECONDS, SHARE * took)
            self._last = (crowd, time.monotonic() + good)
            return crowd

    def _fresh(self) -> Crowd | None:
        last = self._last
        return last[0] if last is not None and time.monotonic() < last[1] else None
