"""Where a queued job stands, what it waits for and for how long: the queue as `services.sql.turn` would serve it now.

The position is exact as long as nobody finishes or submits (in a long queue it is that of a moment ago, see
`services.sql.crowd`); the time follows from what is known about the jobs that run and those ahead, and is unknown as
soon as one of them is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, final

from sqlalchemy import Connection, select

from services.amounts import amount
from services.sql.crowd import LAST, Crowds, Group
from services.sql.heads import JobHead
from services.sql.rows import device_kind
from services.sql.schema import jobs, turns, workers
from services.sql.transitions import LAST_BACKOFF
from services.sql.turn import running_by_tenant, shares
from services.sql.types import utc_now
from services.sql.values import Job, JobState, QueuePlace

ALIVE_SECONDS: Final = 60.0


@final
@dataclass(frozen=True)
class Candidate:
    """What the queue must know about a job; `needs` are bytes by kind of worker."""

    tenant: str
    device: str
    priority: int
    not_before: datetime
    needs: dict[str, int]
    id: str = LAST
    tried: bool = False

    @classmethod
    def of(cls, job: "Job | JobHead") -> "Candidate":
        """A queued job as the queue sees it."""
        needs = {"cpu": job.memory_cpu, "gpu": job.memory_gpu}
        return cls(job.tenant, job.device, job.priority, job.not_before, needs, job.id, job.attempt > 0)


@final
@dataclass(frozen=True)
class Seat:
    """One worker: its device's memory, and the job it runs, if any, with the seconds that job still takes."""

    id: str
    host: str
    kind: str
    total: int | None
    free: int | None
    draining: bool
    busy: bool = False
    left: float | None = None
    need: int = 0

    @property
    def name(self) -> str:
        """What to call it: `gpu0@lab` of `gpu0@lab-3f2a/17`."""
        return self.id.partition("/")[0].rpartition("-")[0] or self.id


@final
class Line:
    """The queue and the workers as they are in one transaction."""

    def __init__(self, connection: Connection, crowds: Crowds, max_running: int = 0) -> None:
        """Read what does not depend on the candidate; `max_running` is every tenant's limit (0: none)."""
        self._max_running = max_running
        self._now = utc_now()
        self._crowd = crowds.seen(connection, self._now)
        self._running = {tenant: count for tenant, count in connection.execute(running_by_tenant())}
        self._turns = {tenant: number for tenant, number in connection.execute(select(turns.c.tenant, turns.c.number))}
        self._others: dict[tuple[tuple[str, ...], int], dict[tuple[str, str], Group]] = {}
        self.seats = _seats(connection, self._now)

    def place(self, job: Candidate) -> QueuePlace:
        """Where the candidate stands."""
        seats = [seat for seat in self.seats if job.device in {"auto", seat.kind}]
        ahead = self._ahead(job, {seat.kind for seat in seats} or {"cpu", "gpu"})
        wait = _wait(job, self._now)
        because, plain = self._waiting_for(job, seats, wait)
        fitting = [seat for seat in seats if not seat.draining and _could(seat, job)]
        eta = _start(fitting, ahead) if plain else None
        return QueuePlace(ahead.count + 1, because, None if eta is None else round(max(eta, wait), 1))

    def _ahead(self, job: Candidate, kinds: Iterable[str]) -> Group:
        """Who is served before it: the more urgent, its tenant's older jobs, and what is due to other tenants."""
        devices = {"auto", job.device} if job.device != "auto" else {"auto", *kinds}
        groups = self._groups(job, tuple(sorted(devices)))
        mine, served = groups.pop((job.tenant, "older"), Group()), []
        level, me = self._running.get(job.tenant, 0), self._turns.get(job.tenant, 0)
        level += groups.get((job.tenant, "urgent"), Group()).count
        for (tenant, sort), group in groups.items():
            if sort == "urgent":
                served.append(group)
            elif tenant != job.tenant:
                theirs = self._running.get(tenant, 0) + groups.get((tenant, "urgent"), Group()).count
                before = (self._turns.get(tenant, 0), group.head) < (me, min(mine.head, job.id))
                turns_due = level + mine.count - theirs + (theirs > level or (theirs == level and before))
                served.append(group.some(max(0, min(group.count, turns_due))))
        return sum(served, mine)

    def _groups(self, job: Candidate, devices: tuple[str, ...]) -> dict[tuple[str, str], Group]:
        """Who competes, by tenant: more urgent jobs, equally urgent ones, and of its own tenant the older ones."""
        key = (devices, job.priority)
        if key not in self._others:
            self._others[key] = self._crowd.groups(*key)
        return self._others[key] | {(job.tenant, "older"): self._crowd.older(job.tenant, *key, job.id)}

    def _waiting_for(self, job: Candidate, seats: list[Seat], wait: float) -> tuple[str, bool]:
        """What stands between it and its start, and whether that is only its turn and the clock."""
        if wait > 0:
            return f"its next try in {wait:.0f} s", True
        staying = [seat for seat in seats if not seat.draining]
        if not staying:
            what = "a worker" if not self.seats or job.device == "auto" else f"a worker with a {job.device.upper()}"
            return f"{what}: none is running" if not seats else "a worker: those running are shutting down", False
        short = self._short_of(job, staying)
        return ("a free worker", True) if short is None else (short, False)

    def _short_of(self, job: Candidate, staying: list[Seat]) -> str | None:
        """What is missing although there are workers: memory, or a place under the tenant's own limit."""
        if not (fitting := [seat for seat in staying if _could(seat, job)]):
            most, need = _largest(staying, job)
            return f"a worker with {amount(need)} of memory: the largest has {amount(most)}"
        if self._max_running and self._running.get(job.tenant, 0) >= self._max_running:
            return f"one of your running jobs to end: {self._max_running} at once is the limit"
        idle = [seat for seat in fitting if not seat.busy]
        if idle and all(_short(self._spare(seat), job.needs.get(seat.kind, 0)) for seat in idle):
            seat = max(idle, key=lambda seat: (self._spare(seat) or 0) - job.needs.get(seat.kind, 0))
            need, free = job.needs[seat.kind], self._spare(seat) or 0
            return f"{amount(need)} free on {seat.name}; {amount(free)} are free"
        return None

    def _spare(self, seat: Seat) -> int | None:
        """What is free on a worker's device and promised to nobody there."""
        if seat.total is None:
            return seat.free
        beside = [s for s in self.seats if s.host == seat.host and s.kind == seat.kind and s.id != seat.id]
        left = seat.total - sum(s.need for s in beside if s.busy and shares(seat.id, s.id, seat.kind))
        return max(0, left if seat.free is None else min(seat.free, left))


def _wait(job: Candidate, now: datetime) -> float:
    """Seconds until it may start, by the rule of `transitions.due`: a wait that no rule allows is not believed."""
    wait = (job.not_before - now).total_seconds()
    return wait if job.tried and 0 < wait <= LAST_BACKOFF else 0.0


def _seats(connection: Connection, now: datetime) -> list[Seat]:
    """The workers seen lately."""
    needs = (jobs.c.memory_cpu, jobs.c.memory_gpu, jobs.c.eta_seconds, jobs.c.expected_seconds, jobs.c.progress)
    alive = (
        select(workers, *needs, jobs.c.id.label("runs"))
        .outerjoin(jobs, (jobs.c.id == workers.c.current_job) & (jobs.c.state == JobState.RUNNING))
        .where(workers.c.seen_at >= now - timedelta(seconds=ALIVE_SECONDS))
        .order_by(workers.c.id)
    )
    return [_seat(row) for row in connection.execute(alive).mappings()]


def _seat(row: Any) -> Seat:
    device, kind = row["device"], device_kind(row["device"]["kind"])
    left = row["eta_seconds"]
    if left is None and row["expected_seconds"] is not None:
        left = row["expected_seconds"] * (1.0 - row["progress"])
    return Seat(
        row["id"], row["host"], kind, device.get("memory_total"), device.get("memory_free"), bool(row["draining"]),
        row["runs"] is not None, left, (row["memory_gpu"] if kind == "gpu" else row["memory_cpu"]) or 0,
    )  # fmt: skip


def _could(seat: Seat, job: Candidate) -> bool:
    """Whether the job fits when the worker is idle."""
    return not _short(seat.total, job.needs.get(seat.kind, 0))


def _short(there: int | None, need: int) -> bool:
    """Whether memory is known to be too little."""
    return there is not None and there < need


def _largest(seats: Sequence[Seat], job: Candidate) -> tuple[int, int]:
    """The memory of the worker that comes nearest, and what the job needs there."""
    seat = max(seats, key=lambda seat: (seat.total or 0) - job.needs.get(seat.kind, 0))
    return seat.total or 0, job.needs.get(seat.kind, 0)


def _start(seats: Sequence[Seat], ahead: Group) -> float | None:
    """Seconds until one of `seats` is free for the job: the level to which the work ahead fills them up."""
    ends = [seat.left if seat.busy else 0.0 for seat in seats]
    known = sorted(end for end in ends if end is not None)
    if not ahead.count and known and known[0] == 0.0:
        return 0.0
    if not known or len(known) < len(seats) or ahead.known < ahead.count:
        return None
    level, work = known[0], ahead.seconds
    for number, following in enumerate([*known[1:], float("inf")], 1):
        room = (following - level) * number
        if room >= work:
            break
        level, work = following, work - room
    return level + work / number


def places_of(
    connection: Connection, among: Iterable[Job | JobHead], crowds: Crowds, max_running: int
) -> dict[str, QueuePlace]:
    """Where the queued ones of several jobs stand, by id."""
    queued = [job for job in among if job.state is JobState.QUEUED]
    if not queued:
        return {}
    line = Line(connection, crowds, max_running)
    return {job.id: line.place(Candidate.of(job)) for job in queued}
