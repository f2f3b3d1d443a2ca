"""The reaper: silence is judged by its own clock, and waiting jobs are rung for again."""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from services.jobs import Job, JobState, JobStore
from services.lease import Lease
from workers.reaper import Reaper


class Clock:
    """Time that passes when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def reaper(jobs: JobStore, clock: Clock, rung: list[str] | None = None, *, broker: bool = True) -> Reaper:
    heard = rung if rung is not None else []

    def ring(due: Sequence[str]) -> bool:
        heard.extend(due)
        return broker

    return Reaper(jobs, ring, 30.0, clock)


def test_a_job_whose_heartbeat_moves_is_left_alone_however_long_it_runs(
    jobs: JobStore, submit: Callable[..., Job], claim: Callable[[], Lease]
) -> None:
    job, clock = submit("train"), Clock()
    lease, watch = claim(), reaper(jobs, clock)
    for _ in range(5):
        watch.round()
        clock.now += 29
        lease.beat()
    assert jobs.get("course", job.id).state == JobState.RUNNING


def test_a_silent_job_goes_back_to_the_queue_after_the_silence_and_not_before(
    jobs: JobStore, submit: Callable[..., Job], claim: Callable[[], Lease]
) -> None:
    job, clock = submit("train"), Clock()
    claim()
    watch = reaper(jobs, clock)
    watch.round()
    clock.now += 29
    watch.round()
    assert jobs.get("course", job.id).state == JobState.RUNNING
    clock.now += 1
    watch.round()
    assert jobs.get("course", job.id).state == JobState.QUEUED


def test_a_new_reaper_starts_counting_afresh(
    jobs: JobStore, submit: Callable[..., Job], claim: Callable[[], Lease]
) -> None:
    job, clock = submit("train"), Clock()
    claim()
    reaper(jobs, clock).round()
    clock.now += 1000
    reaper(jobs, clock).round()
    assert jobs.get("course", job.id).state == JobState.RUNNING


def test_two_reapers_reap_once(jobs: JobStore, submit: Callable[..., Job], claim: Callable[[], Lease]) -> None:
    job, clock = submit("train"), Clock()
    claim()
    watches = [reaper(jobs, clock), reaper(jobs, clock)]
    for _ in range(3):
        for watch in watches:
            watch.round()
        clock.now += 15
    assert jobs.get("course", job.id).state == JobState.QUEUED
    assert len(jobs.attempts("course", job.id)) == 1


def test_a_waiting_job_is_rung_for_once_and_then_waits_its_turn(
    jobs: JobStore, submit: Callable[..., Job], database: Engine
) -> None:
    rung: list[str] = []
    job = submit("train")
    watch = reaper(jobs, Clock(), rung)
    watch.round()
    watch.round()
    assert rung == [job.id]


def test_a_bell_that_the_broker_did_not_take_stays_due(jobs: JobStore, submit: Callable[..., Job]) -> None:
    first, second = submit("train"), submit("train")
    rung: list[str] = []
    watch = reaper(jobs, Clock(), rung, broker=False)
    watch.round()
    watch.round()
    assert rung == [first.id, second.id] * 2
    assert set(jobs.bells()) == {first.id, second.id}
