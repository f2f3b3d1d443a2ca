"""Clocks that are an hour or a year off, or go backwards: no job is hidden, none is stopped before its time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from services.errors import Unauthorized
from services.jobs import JobState, JobStore
from services.keys import KeyStore
from services.lease import Lease
from services.sql import intake, line, transitions

HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
SetClock = Callable[[timedelta], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Set the clock of this process so far off."""

    def set_clock(off: timedelta) -> None:
        for module in (intake, line, transitions, "services.keys", "services.fleet", "services.lease"):
            where = module if isinstance(module, str) else module.__name__
            monkeypatch.setattr(f"{where}.utc_now", lambda: datetime.now(UTC) + off)

    return set_clock


def claim(engine: Engine) -> Lease:
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None, "the job is hidden"
    return lease


@pytest.mark.parametrize("off", [HOUR, -HOUR, YEAR, -YEAR, timedelta(minutes=5)], ids=str)
def test_a_job_posted_under_a_wrong_clock_starts_at_once_and_its_bell_rings(
    store: JobStore, engine: Engine, clock: SetClock, off: timedelta
) -> None:
    clock(off)
    job, _ = store.submit("t", {}, {})
    clock(timedelta())
    if abs(off) >= HOUR:
        assert store.bells() == [job.id]
    assert claim(engine).job.id == job.id


@pytest.mark.parametrize("off", [HOUR, YEAR], ids=str)
def test_a_job_sent_back_under_a_clock_far_ahead_is_not_hidden(
    store: JobStore, engine: Engine, clock: SetClock, off: timedelta
) -> None:
    store.submit("t", {}, {})
    clock(off)
    claim(engine).requeue("drained", False)
    clock(timedelta())
    claim(engine)


def test_a_back_off_under_a_right_clock_is_still_kept(store: JobStore, engine: Engine) -> None:
    store.submit("t", {}, {})
    claim(engine).requeue("drained", False, transitions.LAST_BACKOFF)
    assert Lease.claim(engine, "w", {"cpu"}) is None
    assert store.bells() == []


@pytest.mark.parametrize("off", [HOUR, -HOUR, YEAR, -YEAR], ids=str)
def test_a_clock_that_jumps_in_the_middle_takes_no_running_time_and_ends_no_lease(
    store: JobStore, engine: Engine, clock: SetClock, off: timedelta
) -> None:
    job, _ = store.submit("t", {"resources": {"max_runtime": 600}}, {})
    lease = claim(engine)
    clock(off)
    lease.beat()
    assert lease.requeue("drained", False, 0) is JobState.QUEUED
    assert store.get("t", job.id).ran_seconds < 60
    claim(engine).succeed("completed", {}, [])
    assert store.get("t", job.id).state is JobState.SUCCEEDED


def test_the_events_of_a_job_stay_in_order_when_the_clock_goes_backwards(
    store: JobStore, engine: Engine, clock: SetClock
) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claim(engine)
    clock(-HOUR)
    lease.record([("log", {"level": "info", "text": "later"})])
    lease.succeed("completed", {}, [])
    numbers = [event.number for event in store.events("t", job.id)]
    assert numbers == sorted(numbers)
    assert [event.kind for event in store.events("t", job.id)] == ["state", "state", "log", "state"]


def test_a_key_ends_by_the_clock_on_the_wall_and_comes_back_with_it(engine: Engine, clock: SetClock) -> None:
    keys = KeyStore(engine)
    _, secret = keys.create("ci", ["read"], expires=datetime.now(UTC) + timedelta(days=30))
    clock(YEAR)
    with pytest.raises(Unauthorized):
        keys.verify(secret)
    clock(timedelta())
    assert keys.verify(secret).name == "ci"
