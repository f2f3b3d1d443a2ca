"""The fleet: who works on what, and what the queue waits for."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from services.fleet import Device, Fleet, Worker
from services.jobs import JobStore
from services.lease import Lease

CPU = Worker("w1", "host", 7, Device("cpu", "2 cores", 8_000, 5_000))


@pytest.fixture
def fleet(engine: Engine) -> Fleet:
    """An empty fleet."""
    return Fleet(engine)


def test_a_worker_comes_is_seen_and_goes(fleet: Fleet) -> None:
    fleet.register(CPU)
    fleet.register(replace(CPU, pid=8))
    (worker,) = fleet.workers()
    assert replace(worker, seen_at=None) == replace(CPU, pid=8)
    assert fleet.seen("w1", current_job="j", memory_free=4_000)
    (worker,) = fleet.workers(within_seconds=60)
    assert (worker.current_job, worker.device.memory_free, worker.device.memory_total) == ("j", 4_000, 8_000)
    assert fleet.workers(within_seconds=-1) == []
    fleet.forget("w1")
    assert fleet.workers() == []
    assert not fleet.seen("w1")


def test_the_queue_is_counted_by_state_and_device(fleet: Fleet, engine: Engine) -> None:
    store = JobStore(engine)
    assert fleet.queue().oldest_wait_seconds == 0
    for device in ("auto", "gpu", "gpu"):
        store.submit("t", {"resources": {"device": device}}, {})
    assert Lease.claim(engine, "w1", {"cpu"}) is not None
    view = fleet.queue()
    assert view.depth == {"queued": 2, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert view.by_device == {"gpu": 2}
    assert 0 < view.oldest_wait_seconds < 60


def test_a_queued_job_says_what_it_waits_for(fleet: Fleet, engine: Engine) -> None:
    store = JobStore(engine)
    job, _ = store.submit("t", {"resources": {"device": "gpu"}}, {})
    assert store.queue_of(job).waiting_for == "a worker: none is running"
    fleet.register(CPU)
    assert store.queue_of(job).waiting_for == "a worker with a GPU: none is running"
    fleet.register(Worker("w2", "host", 8, Device("gpu", "H100")))
    assert store.queue_of(job).waiting_for == "a free worker"
    lease = Lease.claim(engine, "w2", {"gpu:0"})
    assert lease is not None
    lease.requeue("device lost", False, 30)
    waiting = store.queue_of(store.get("t", job.id)).waiting_for
    assert waiting in {"its next try in 30 s", "its next try in 29 s"}
