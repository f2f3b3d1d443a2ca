"""The queue: whose turn it is, where a job stands, what it waits for, and what a claim costs. On both databases."""

import random
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text

from services.fleet import Device, Fleet, Worker
from services.jobs import Job, JobState, JobStore, Progress
from services.lease import Lease
from services.sql.engine import migrate, open_engine, writing
from services.sql.ids import new_id
from services.sql.schema import jobs
from services.sql.turn import Room
from services.sql.types import utc_now

GIB = 2**30
PLAN = {"flops_per_step": 1_000_000, "total_steps": 1000}


def needing(cpu: int, gpu: int = 0) -> dict[str, Any]:
    """The plan of a job that needs so many bytes."""
    return PLAN | {"memory": {"cpu": {"total": cpu}, "gpu": {"total": gpu}}}


def spec(device: str = "auto", priority: str = "normal", name: str = "job") -> dict[str, Any]:
    """The least that a spec says."""
    return {"name": name, "resources": {"device": device, "priority": priority}}


def worker(id: str = "cpu@lab-1/7", kind: str = "cpu", total: int | None = None, free: int | None = None) -> Worker:
    """A worker of the host `lab`."""
    return Worker(id, "lab", 7, Device(kind, "a device", total, free))


def claimed(engine: Engine, devices: tuple[str, ...] = ("cpu",), **how: Any) -> Lease:
    """The lease on the job whose turn it is."""
    lease = Lease.claim(engine, how.pop("by", "w"), devices, **how)
    assert lease is not None
    return lease


def waits(store: JobStore, job: Job) -> str | None:
    """What a job waits for now."""
    return store.queue_of(store.get(job.tenant, job.id)).waiting_for


# Whose turn it is


def test_one_job_of_a_tenant_starts_next_however_many_another_has_queued(store: JobStore, engine: Engine) -> None:
    crowd = [store.submit("crowd", spec(), PLAN)[0].id for _ in range(30)]
    first = claimed(engine)
    lone, _ = store.submit("lone", spec(), PLAN)
    assert store.queue_of(lone).position == 1
    first.succeed("completed", {}, [])
    assert claimed(engine).job.id == lone.id
    assert claimed(engine).job.id == crowd[1]


def test_with_one_worker_tenants_take_turns(store: JobStore, engine: Engine) -> None:
    for tenant, count in (("a", 4), ("b", 2), ("c", 1)):
        for _ in range(count):
            store.submit(tenant, spec(), PLAN)
    served = []
    for _ in range(7):
        lease = claimed(engine)
        served.append(lease.job.tenant)
        lease.succeed("completed", {}, [])
    assert "".join(served) == "abcabaa"


def test_the_tenant_that_runs_fewest_jobs_comes_first_but_urgent_jobs_before_all(
    store: JobStore, engine: Engine
) -> None:
    for _ in range(3):
        store.submit("busy", spec(), PLAN)
    claimed(engine)
    claimed(engine)
    store.submit("idle", spec(name="second"), PLAN)
    store.submit("busy", spec(priority="high", name="first"), PLAN)
    assert [claimed(engine).job.name for _ in range(2)] == ["first", "second"]


@pytest.mark.parametrize("seed", range(2))
def test_positions_are_the_order_in_which_workers_will_take_the_jobs(
    store: JobStore, engine: Engine, seed: int
) -> None:
    draw = random.Random(seed)
    for _ in range(6):
        store.submit(draw.choice("abc"), spec(), PLAN)
    for lease in [claimed(engine) for _ in range(4)]:
        if draw.random() < 0.5:
            lease.succeed("completed", {}, [])
    queued = [store.submit(draw.choice("abcd"), spec(), PLAN)[0] for _ in range(12)]
    queued += [job for tenant in "abcd" for job in store.first_queued(tenant) if job not in queued]
    places = store.places(queued)
    expected = sorted(queued, key=lambda job: places[job.id].position or 0)
    assert [places[job.id].position for job in expected] == list(range(1, len(queued) + 1))
    assert [claimed(engine).job.id for _ in queued] == [job.id for job in expected]


def test_a_job_competes_only_with_those_for_the_same_devices(store: JobStore, engine: Engine) -> None:
    fleet = Fleet(engine)
    fleet.register(worker())
    store.submit("t", spec("gpu"), PLAN)
    cpu, _ = store.submit("t", spec("cpu"), PLAN)
    either, _ = store.submit("t", spec("auto"), PLAN)
    assert [store.queue_of(job).position for job in (cpu, either)] == [1, 2]
    fleet.register(worker("gpu0@lab-1/8", "gpu"))
    assert [store.queue_of(job).position for job in (cpu, either)] == [1, 3]


def test_a_job_that_others_are_changing_is_passed_over_for_now(postgresql_engine: Engine) -> None:
    store = JobStore(postgresql_engine)
    held, _ = store.submit("t", spec(), PLAN)
    free, _ = store.submit("t", spec(), PLAN)
    with writing(postgresql_engine) as connection:
        connection.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": held.id})
        assert claimed(postgresql_engine).job.id == free.id


# What fits


def test_a_job_that_does_not_fit_now_is_passed_over_and_says_why(store: JobStore, engine: Engine) -> None:
    fleet = Fleet(engine)
    fleet.register(worker(total=16 * GIB, free=4 * GIB))
    large, _ = store.submit("t", spec(), needing(12 * GIB))
    small, _ = store.submit("t", spec(), needing(1 * GIB))
    assert waits(store, large) == "12.0 GiB free on cpu@lab; 4.0 GiB are free"
    assert store.queue_of(large).eta_seconds is None
    room = Room("lab", 16 * GIB, 4 * GIB)
    assert claimed(engine, room=room).job.id == small.id
    assert Lease.claim(engine, "w", {"cpu"}, room=room) is None
    assert claimed(engine, room=Room("lab", 16 * GIB, 13 * GIB)).job.id == large.id


def test_memory_on_a_gpu_is_counted_apart(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", spec(), needing(1 * GIB, 12 * GIB))
    assert Lease.claim(engine, "w", {"gpu"}, room=Room("lab", 80 * GIB, 11 * GIB)) is None
    assert claimed(engine, ("cpu",), room=Room("lab", 2 * GIB, 2 * GIB)).job.id == job.id


def test_what_a_running_job_was_promised_is_not_free_for_its_neighbour(store: JobStore, engine: Engine) -> None:
    fleet = Fleet(engine)
    one, two = (
        worker("cpu@lab-1/7", total=16 * GIB, free=15 * GIB),
        worker("cpu@lab-1/8", total=16 * GIB, free=15 * GIB),
    )
    fleet.register(one)
    fleet.register(two)
    first, _ = store.submit("t", spec(), needing(10 * GIB))
    second, _ = store.submit("t", spec(), needing(10 * GIB))
    room = Room("lab", 16 * GIB, 15 * GIB)
    lease = claimed(engine, by=one.id, room=room)
    fleet.seen(one.id, current_job=first.id, memory_free=15 * GIB)
    assert Lease.claim(engine, two.id, {"cpu"}, room=room) is None
    assert waits(store, second) == "10.0 GiB free on cpu@lab; 6.0 GiB are free"
    lease.succeed("completed", {}, [])
    assert claimed(engine, by=two.id, room=room).job.id == second.id


def test_a_job_too_large_for_every_worker_says_so(store: JobStore, engine: Engine) -> None:
    Fleet(engine).register(worker(total=16 * GIB, free=15 * GIB))
    job, _ = store.submit("t", spec(), needing(41 * GIB))
    assert waits(store, job) == "a worker with 41.0 GiB of memory: the largest has 16.0 GiB"


# What it waits for


def test_a_queued_job_tells_every_reason_to_wait(engine: Engine) -> None:
    store, fleet = JobStore(engine, max_running=1), Fleet(engine)
    job, _ = store.submit("t", spec("gpu"), PLAN)
    assert waits(store, job) == "a worker: none is running"
    fleet.register(worker())
    assert waits(store, job) == "a worker with a GPU: none is running"
    fleet.register(worker("gpu0@lab-1/9", "gpu"))
    assert waits(store, job) == "a free worker"
    fleet.drain("gpu0@lab-1/9")
    assert waits(store, job) == "a worker: those running are shutting down"
    fleet.register(worker("gpu0@lab-1/9", "gpu"))
    other, _ = store.submit("t", spec("gpu"), PLAN)
    lease = claimed(engine, ("gpu",))
    assert waits(store, other) == "one of your running jobs to end: 1 at once is the limit"
    lease.requeue("device lost", False, 30)
    assert waits(store, job) in {"its next try in 30 s", "its next try in 29 s"}


def test_a_place_that_has_no_job_yet_is_the_last_one(store: JobStore) -> None:
    store.submit("t", spec(), PLAN)
    store.submit("u", spec(), PLAN)
    place, guess = store.prospect("t", spec(), PLAN)
    assert (place.position, place.waiting_for, guess) == (3, "a worker: none is running", None)
    assert store.prospect("t", spec(priority="high"), PLAN)[0].position == 1


# How long


def train_once(store: JobStore, engine: Engine, seconds: float, tenant: str = "t") -> None:
    """One finished job, from which the next ones of the same plan are judged."""
    store.submit(tenant, spec(), PLAN)
    lease = claimed(engine)
    lease.beat(Progress(step=1000, total_steps=1000))
    lease.succeed("completed", {"train_seconds": seconds}, [])


def test_the_time_until_a_job_starts_follows_from_the_jobs_that_run_and_those_ahead(
    store: JobStore, engine: Engine
) -> None:
    train_once(store, engine, 100.0)
    fleet = Fleet(engine)
    fleet.register(worker())
    queued = [store.submit("t", spec(), PLAN)[0] for _ in range(3)]
    assert store.queue_of(queued[0]).eta_seconds == 0
    lease = claimed(engine, by="cpu@lab-1/7")
    fleet.seen("cpu@lab-1/7", current_job=lease.job.id)
    assert [place.eta_seconds for place in store.places(queued[1:]).values()] == [100.0, 200.0]
    lease.beat(Progress(step=750, total_steps=1000, eta_seconds=20.0))
    assert [place.eta_seconds for place in store.places(queued[1:]).values()] == [20.0, 120.0]
    fleet.register(worker("cpu@lab-2/8"))
    assert store.queue_of(queued[1]).eta_seconds == 0


def test_two_workers_share_the_work_ahead(store: JobStore, engine: Engine) -> None:
    train_once(store, engine, 100.0)
    fleet = Fleet(engine)
    for id in ("cpu@lab-1/7", "cpu@lab-2/8"):
        fleet.register(worker(id))
    queued = [store.submit("t", spec(), PLAN)[0] for _ in range(5)]
    for id, left in (("cpu@lab-1/7", 10.0), ("cpu@lab-2/8", 50.0)):
        lease = claimed(engine, by=id)
        lease.beat(Progress(step=1, eta_seconds=left))
        fleet.seen(id, current_job=lease.job.id)
    # The first at 10 s; the second at 50 s; the third when the 200 s of these two are spread over both workers.
    etas = [place.eta_seconds for place in store.places(queued[2:]).values()]
    assert etas == [10.0, 80.0, 130.0]


def test_nobody_knows_the_time_as_long_as_one_job_ahead_tells_nothing(store: JobStore, engine: Engine) -> None:
    train_once(store, engine, 100.0)
    fleet = Fleet(engine)
    fleet.register(worker())
    unknown, _ = store.submit("new tenant", spec(), PLAN)
    known, _ = store.submit("t", spec(), PLAN)
    assert store.queue_of(known).eta_seconds is None
    lease = claimed(engine, by="cpu@lab-1/7")
    assert lease.job.id == unknown.id
    fleet.seen("cpu@lab-1/7", current_job=unknown.id)
    assert store.queue_of(known).eta_seconds is None


# Quotas under fire


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """The answers (or errors) of calls that start at the same moment, each on its own thread."""
    barrier, answers = threading.Barrier(len(calls)), list[Any]()

    def run(call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            answers.append(call())
        except Exception as problem:
            answers.append(problem)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_claims_that_race_never_run_more_of_a_tenant_than_it_may(store: JobStore, engine: Engine) -> None:
    for _ in range(8):
        store.submit("t", spec(), PLAN)
    race = [lambda n=n: Lease.claim(engine, f"w{n}", {"cpu"}, max_running=2) for n in range(8)]
    found = together(race)
    assert sum(isinstance(lease, Lease) for lease in found) == 2
    assert found.count(None) == 6


def test_submits_that_race_never_queue_more_than_the_quota(engine: Engine) -> None:
    store = JobStore(engine, max_queued=3)
    together([lambda: store.submit("t", spec(), PLAN) for _ in range(8)])
    assert len(store.find("t").items) == 3


# A job that always runs out of memory


def test_a_job_that_dies_of_memory_backs_off_and_others_start_in_between(store: JobStore, engine: Engine) -> None:
    hungry, _ = store.submit("hungry", spec(), PLAN)
    others = [store.submit("other", spec(), PLAN)[0].id for _ in range(3)]
    started = []
    for _ in range(5):
        lease = Lease.claim(engine, "w", {"cpu"})
        if lease is None:
            break
        started.append(lease.job.id)
        if lease.job.id == hungry.id:
            lease.requeue("The trainer was killed: out of memory.", True, last_reason="out_of_memory")  # type: ignore[arg-type]
        else:
            lease.succeed("completed", {}, [])
    assert started == [hungry.id, *others]
    assert (store.get("hungry", hungry.id).not_before - utc_now()).total_seconds() > 5


# What a claim costs


def fill(engine: Engine, count: int, tenant: str = "crowd") -> None:
    """Queue many jobs of one tenant at once: half of them for a GPU, each with a spec."""
    now, filler = utc_now(), {"filler": "x" * 40}
    row = {"tenant": tenant, "name": "j", "labels": [], "spec": filler, "outline": filler, "created_at": now}
    rows = [
        row | {"id": new_id(), "not_before": now, "device": "gpu" if n % 2 else "auto", "memory_cpu": 8 * GIB}
        for n in range(count)
    ]
    with writing(engine) as connection:
        connection.execute(insert(jobs), rows)
        connection.execute(text("ANALYZE"))


@contextmanager
def counting_steps(engine: Engine) -> Iterator[list[int]]:
    """Counts the instructions that SQLite's machine executes, in hundreds: work that no busy machine can blur."""
    steps: list[int] = []

    def count() -> int:
        steps.append(1)
        return 0

    def watch(raw: sqlite3.Connection, *_: Any) -> None:
        raw.set_progress_handler(count, 100)

    event.listen(engine, "checkout", watch)
    yield steps
    event.remove(engine, "checkout", watch)
    with engine.connect() as connection:
        connection.connection.driver_connection.set_progress_handler(None, 0)  # type: ignore[union-attr]


def test_a_claim_costs_no_more_with_ten_thousand_jobs_queued_than_with_ten(tmp_path: Path) -> None:
    # A file of its own: one that has been large never becomes small again.
    sqlite_engine = open_engine(f"sqlite:///{tmp_path}/crowded.db")
    migrate(sqlite_engine)
    costs = []
    for more in (10, 990, 9_000):
        fill(sqlite_engine, more)
        with counting_steps(sqlite_engine) as steps:
            assert claimed(sqlite_engine, room=Room("lab", 16 * GIB, 16 * GIB)).job.tenant == "crowd"
        costs.append(len(steps))
    sqlite_engine.dispose()
    # In hundreds of instructions. To look at every queued job would take more than 400.
    assert max(costs) <= 20


def test_a_claim_reads_a_handful_of_pages_on_postgresql(postgresql_engine: Engine) -> None:
    fill(postgresql_engine, 10_000)
    fill(postgresql_engine, 10, "lone")
    explained: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM jobs" in statement and statement.startswith(("WITH RECURSIVE", "SELECT jobs.id")):
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) {statement}", parameters)
            explained.extend(row[0] for row in cursor.fetchall())

    event.listen(postgresql_engine, "before_cursor_execute", explain)
    try:
        claimed(postgresql_engine, room=Room("lab", 16 * GIB, 16 * GIB))
    finally:
        event.remove(postgresql_engine, "before_cursor_execute", explain)
    rows = [float(found) for line in explained for found in re.findall(r"actual time=\S+ rows=(\S+)", line)]
    assert max(rows) <= 40, "\n".join(explained)
    assert not any("Seq Scan on jobs" in line for line in explained), "\n".join(explained)


def test_a_state_that_is_over_has_no_place(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", spec(), PLAN)
    claimed(engine).succeed("completed", {}, [])
    assert store.get("t", job.id).state is JobState.SUCCEEDED
    assert store.places([replace(job, state=JobState.SUCCEEDED)]) == {}
