"""Open-loop load: requests leave at the times of a schedule, however slowly the ones before are answered.

Latency counts from the moment at which a request should have left. So a server that stalls for a second shows in every
request of that second, not in one (coordinated omission).
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from benchmarks.wire import Reply, Wire

LATEST_SECONDS = 60.0


@final
@dataclass
class Tally:
    """What happened to one kind of request: seconds from the intended start, and answers by status."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def note(self, reply: Reply, seconds: float) -> None:
        """Count one answer."""
        self.seconds.append(seconds)
        self.statuses[reply.status] += 1

    def card(self) -> dict[str, Any]:
        """Count, milliseconds at several quantiles, statuses."""
        return {
            "requests": len(self.seconds),
            **quantiles(self.seconds),
            "statuses": dict(sorted(self.statuses.items())),
        }


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99, p99.9 and the slowest, in milliseconds."""
    ordered = sorted(seconds) or [float("nan")]
    ranks = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999}
    found = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in ranks.items()}
    return {name: round(1e3 * value, 2) for name, value in {**found, "max_ms": ordered[-1]}.items()}


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of a Poisson process of `rate` per second, as many people acting on their own would make it."""
    draw, at, times = random.Random(seed), 0.0, []
    while (at := at + draw.expovariate(rate)) < seconds:
        times.append(at)
    return times


async def keep_to(times: Sequence[float], start: float, send: Callable[[], Awaitable[Reply]], tally: Tally) -> None:
    """Send at every time of the schedule, counted from `start` on the event loop's clock, and wait for all answers."""
    pending: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        reply = await send()
        tally.note(reply, time.monotonic() - due)

    for at in times:
        await asyncio.sleep(max(0.0, start + at - time.monotonic()))
        task = asyncio.create_task(one(start + at))
        pending.add(task)
        task.add_done_callback(pending.discard)
    if pending:
        await asyncio.wait(pending, timeout=LATEST_SECONDS)


@final
class Readers:
    """Reads as a page and a program make them: mostly one job, its metrics, the list, now and then the queue."""

    MIX = (("job", 50), ("metrics", 20), ("list", 15), ("logs", 5), ("queue", 5), ("workers", 5))

    def __init__(self, wire: Wire, known: list[str], seed: int = 7) -> None:
        """Read about the jobs in `known`, which may grow."""
        self.wire, self.known, self._draw = wire, known, random.Random(seed)
        self.tallies = {name: Tally() for name, _ in self.MIX}

    async def read(self) -> Reply:
        """One read of a random kind."""
        kind = self._draw.choices([name for name, _ in self.MIX], [share for _, share in self.MIX])[0]
        begin = time.monotonic()
        reply = await self.wire.ask("GET", self._path(kind))
        self.tallies[kind].note(reply, time.monotonic() - begin)
        return reply

    def _path(self, kind: str) -> str:
        if kind in {"list", "queue", "workers"}:
            return {"list": "/v1/jobs?limit=50", "queue": "/v1/queue", "workers": "/v1/workers"}[kind]
        # Half of the readers follow what trains, the others something of late.
        recent = self.known[-200:]
        id = self._draw.choice(self.known[:2] if self._draw.random() < 0.5 else recent)
        return f"/v1/jobs/{id}" + {"job": "", "metrics": "/metrics?max_points=500", "logs": "/logs"}[kind]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    if len(values) < 2:
        return {"q25": values[0], "median": values[0], "q75": values[0]}
    low, middle, high = statistics.quantiles(values, n=4)
    return {"q25": round(low, 3), "median": round(middle, 3), "q75": round(high, 3)}
