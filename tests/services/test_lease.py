"""The lease: the transition table of docs/state_machine.md, the fence, checkpoints, and when a job is given up."""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from services import errors
from services.artifacts import ArtifactStore
from services.errors import Conflict, DataError, LeaseLost, TrainyardError
from services.jobs import Artifact, Checkpoint, JobState, JobStore, Progress, Reason
from services.lease import Lease
from services.sql import transitions
from services.sql.engine import reading
from services.sql.schema import METADATA

PAGE = Path(__file__).parents[2] / "docs" / "state_machine.md"


def claimed(engine: Engine, worker: str = "w") -> Lease:
    """The lease on the job next in line."""
    lease = Lease.claim(engine, worker, {"cpu"})
    assert lease is not None
    return lease


def checkpoint(step: int, name: str = "c") -> Checkpoint:
    """A checkpoint whose file the record does not look at."""
    return Checkpoint(step, f"t/j/a1/{name}{step}", "0" * 64, 8)


def everything(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with reading(engine) as connection:
        tables = METADATA.sorted_tables
        return {t.name: [tuple(row) for row in connection.execute(select(t).order_by(*t.primary_key))] for t in tables}


def _table() -> list[tuple[str, str, str]]:
    """(action, state, outcome) of every cell of the page's second table."""
    lines = PAGE.read_text().split("| action |", 1)[1].split("\n\n", 1)[0].splitlines()
    states, rows = [cell.strip() for cell in lines[0].split("|")[:-1]], lines[2:]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    return [(row[0], state, outcome) for row in cells for state, outcome in zip(states, row[1:], strict=True)]


ACTIONS: dict[str, Callable[[JobStore, Lease], Any]] = {
    "claim": lambda store, lease: Lease.claim(store.engine, "other", {"cpu"}),
    "beat": lambda store, lease: lease.beat(Progress(step=3)),
    "record": lambda store, lease: lease.record([("log", {"level": "info", "text": "x"})]),
    "checkpoint": lambda store, lease: lease.checkpoint(checkpoint(9), [(9, "loss", 0.1)]),
    "give_up_checkpoint": lambda store, lease: lease.give_up_checkpoint(),
    "describe_data": lambda store, lease: lease.describe_data({"name": "digits"}),
    "succeed": lambda store, lease: lease.succeed("completed", {}, [Artifact("m", "p", "0", 1)], [(9, "loss", 0.1)]),
    "fail": lambda store, lease: lease.fail("diverged", "loss is NaN", [(9, "loss", 0.1)]),
    "cancelled": lambda store, lease: lease.cancelled(),
    "requeue": lambda store, lease: lease.requeue("drained", False, 0),
    "await_space": lambda store, lease: lease.await_space("the disk is full"),
    "reap": lambda store, lease: store.reap(lease.job.id, lease.attempt, _beats(store, lease)),
    "request_cancel": lambda store, lease: store.request_cancel("t", lease.job.id),
    "request_stop": lambda store, lease: store.request_stop("t", lease.job.id),
    "delete": lambda store, lease: store.delete("t", lease.job.id),
}


def _beats(store: JobStore, lease: Lease) -> int:
    return next((pulse.beats for pulse in store.pulses() if pulse.job == lease.job.id), 1)


def _place(store: JobStore, state: str) -> Lease:
    """A job brought into `state`, and the lease its last holder has in hand."""
    job, _ = store.submit("t", {}, {})
    if state == "queued":
        return Lease(store.engine, job, None)
    lease = claimed(store.engine)
    if state == "running + cancel":
        store.request_cancel("t", job.id)
    elif state == "succeeded":
        lease.succeed("completed", {}, [])
    elif state == "failed":
        lease.fail("data_error", "why")
    elif state == "cancelled":
        store.request_cancel("t", job.id)
        lease.cancelled()
    return lease


@pytest.mark.parametrize(("action", "state", "outcome"), _table())
def test_the_page_says_what_every_action_does_in_every_state(
    store: JobStore, action: str, state: str, outcome: str
) -> None:
    lease = _place(store, state)
    before = everything(store.engine)
    if outcome[0].isupper():
        refusal: type[TrainyardError] = getattr(errors, outcome)
        with pytest.raises(refusal) as refused:
            ACTIONS[action](store, lease)
        assert type(refused.value) is refusal
        assert everything(store.engine) == before
        return
    answer = ACTIONS[action](store, lease)
    if outcome == "nothing":
        assert answer is None
        assert everything(store.engine) == before
    elif outcome == "deleted":
        left = everything(store.engine)
        left.pop("turns")  # who had the last turn is about the tenant
        assert not any(left.values())
    else:
        _check_history(store, lease.job.id, outcome)


def _check_history(store: JobStore, id: str, state: str) -> None:
    """The job is in `state`, and so is the last of its state events."""
    assert store.get("t", id).state == state
    assert [event.data["state"] for event in store.events("t", id) if event.kind == "state"][-1] == state


def test_the_table_is_whole() -> None:
    assert {action for action, _, _ in _table()} == set(ACTIONS)
    assert len(_table()) == len(ACTIONS) * 6


def _together(calls: list[Callable[[], Any]]) -> list[Any]:
    """The answers (or errors) of calls that start at the same moment, each on its own thread."""
    barrier, answers = threading.Barrier(len(calls)), list[Any]()

    def run(call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            answers.append(call())
        except TrainyardError as problem:
            answers.append(problem)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_two_workers_that_claim_together_one_gets_the_job(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    leases = _together([partial(Lease.claim, engine, f"w{n}", {"cpu"}) for n in range(4)])
    (lease,) = [lease for lease in leases if lease is not None]
    assert (lease.job.id, lease.attempt, lease.job.owner) == (job.id, 1, store.get("t", job.id).owner)
    assert len(store.attempts("t", job.id)) == 1


def test_workers_that_claim_together_share_the_queue(store: JobStore, engine: Engine) -> None:
    ids = {store.submit("t", {}, {})[0].id for _ in range(12)}

    def drain() -> list[str]:
        taken = []
        while lease := Lease.claim(engine, "w", {"cpu"}):
            taken.append(lease.job.id)
        return taken

    taken = [id for ids in _together([drain] * 3) for id in ids]
    assert (len(taken), set(taken)) == (12, ids)


def test_finishing_and_reaping_together_ends_in_one_way(store: JobStore, engine: Engine) -> None:
    for _ in range(5):
        job, _ = store.submit("t", {}, {})
        lease = claimed(engine)
        finish = partial(lease.succeed, "completed", {}, [])
        _together([finish, partial(store.reap, job.id, 1, 1), partial(store.request_cancel, "t", job.id)])
        states = [event.data["state"] for event in store.events("t", job.id)]
        final = [state for state in states if state in {"succeeded", "failed", "cancelled"}]
        assert len(final) <= 1
        assert store.get("t", job.id).state == states[-1]
        if store.get("t", job.id).state is JobState.QUEUED:
            store.request_cancel("t", job.id)


def test_a_device_takes_what_fits_it(store: JobStore, engine: Engine) -> None:
    for device in ("gpu", "cpu", "auto"):
        store.submit("t", {"name": device, "resources": {"device": device}}, {})
    assert claimed(engine).job.name == "cpu"
    assert claimed(engine).job.name == "auto"
    assert Lease.claim(engine, "w", {"cpu"}) is None
    lease = Lease.claim(engine, "w", {"cuda:0"})
    assert lease is not None
    assert lease.job.name == "gpu"


def test_a_tenant_at_its_limit_leaves_room_for_others(store: JobStore, engine: Engine) -> None:
    for tenant in ("t", "t", "u"):
        store.submit(tenant, {}, {})
    leases = [Lease.claim(engine, "w", {"cpu"}, max_running=1) for _ in range(3)]
    assert [lease and lease.job.tenant for lease in leases] == ["t", "u", None]


STALE: list[Callable[[Lease], Any]] = [
    lambda lease: lease.beat(Progress(step=99)),
    lambda lease: lease.record([("metric", {"step": 99, "values": {"loss": 0.0}})]),
    lambda lease: lease.checkpoint(checkpoint(99), [(99, "loss", 0.0)], best={"step": 99}),
    lambda lease: lease.describe_data({"name": "other"}),
    lambda lease: lease.succeed("completed", {"accuracy": 1.0}, [Artifact("m", "p", "0", 1)], [(99, "loss", 0.0)]),
    lambda lease: lease.fail("diverged", "x", [(99, "loss", 0.0)]),
    lambda lease: lease.cancelled(),
    lambda lease: lease.requeue("x", True, 0),
]


@pytest.mark.parametrize("write", STALE)
def test_a_holder_that_was_given_up_writes_nothing(
    store: JobStore, engine: Engine, write: Callable[[Lease], Any]
) -> None:
    job, _ = store.submit("t", {}, {})
    zombie = claimed(engine, "zombie")
    assert store.reap(job.id, 1, 1, delay=0) is JobState.QUEUED
    successor = claimed(engine, "successor")
    store.request_cancel("t", job.id)
    before = everything(engine)
    with pytest.raises(LeaseLost):
        write(zombie)
    assert everything(engine) == before
    assert successor.beat().cancel


def test_a_holder_that_was_heard_keeps_the_job(store: JobStore, engine: Engine) -> None:
    store.submit("t", {}, {})
    lease = claimed(engine)
    (pulse,) = store.pulses()
    assert (pulse.job, pulse.attempt, pulse.worker) == (lease.job.id, 1, "w")
    lease.beat()
    assert store.reap(pulse.job, pulse.attempt, pulse.beats) is None
    (pulse,) = store.pulses()
    assert store.reap(pulse.job, pulse.attempt, pulse.beats) is JobState.QUEUED
    assert store.get("t", pulse.job).message == "worker w fell silent"


def test_progress_is_shown_and_falls_back_to_the_checkpoint(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claimed(engine)
    lease.checkpoint(checkpoint(20), [], progress=Progress(20, 100, 2, 8.0, "training"))
    lease.beat(Progress(step=30, total_steps=100, eta_seconds=7.0))
    seen = store.get("t", job.id)
    assert (seen.progress, seen.step, seen.epoch, seen.eta_seconds, seen.phase) == (0.3, 30, 2, 7.0, "training")
    lease.requeue("drained", False, 0)
    seen = store.get("t", job.id)
    assert (seen.progress, seen.step, seen.eta_seconds, seen.phase) == (0.2, 20, None, None)
    assert claimed(engine).resume_from == checkpoint(20)


def test_a_checkpoint_and_its_metrics_come_together_or_not_at_all(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claimed(engine)
    lease.checkpoint(checkpoint(5), [(5, "loss", 1.0)])
    with pytest.raises(Conflict):
        lease.checkpoint(checkpoint(4), [(6, "loss", 0.5)])
    assert [point.step for point in store.metrics("t", job.id)] == [5]
    assert store.get("t", job.id).checkpoint_step == 5


def test_old_checkpoints_go_but_the_last_best_stays(store: JobStore, engine: Engine) -> None:
    store.submit("t", {}, {})
    lease = claimed(engine)
    lease.checkpoint(checkpoint(1), [], best={"step": 1, "loss": 0.1})
    dropped = [lease.checkpoint(checkpoint(step), [], keep=2).dropped for step in (2, 3, 4)]
    assert dropped == [(), (), ("t/j/a1/c2",)]
    assert lease.checkpoint(checkpoint(5), [], best={"step": 5}).dropped == ("t/j/a1/c1", "t/j/a1/c3")
    assert lease.checkpoint(checkpoint(5, "again"), []).dropped == ("t/j/a1/c5",)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claimed(engine)
    lease.checkpoint(checkpoint(4), [(4, "loss", 1.0)])
    lease.checkpoint(checkpoint(8), [(8, "loss", 0.5)])
    lease.requeue("killed", True, 0)
    again = claimed(engine)
    assert again.give_up_checkpoint() == again.resume_from == checkpoint(4)
    assert [point.step for point in store.metrics("t", job.id)] == [4]
    assert store.get("t", job.id).checkpoint_step == 4
    assert again.give_up_checkpoint() is None
    assert store.metrics("t", job.id) == []
    with pytest.raises(LeaseLost):
        lease.give_up_checkpoint()


def test_a_replayed_step_that_differs_raises_an_alarm(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claimed(engine)
    lease.checkpoint(checkpoint(5), [(4, "loss", 1.0), (5, "loss", float("nan"))])
    lease.checkpoint(checkpoint(6), [(4, "loss", 1.0), (5, "loss", float("nan")), (6, "loss", 0.5)])
    assert store.diagnostics("t", job.id) == []
    lease.checkpoint(checkpoint(7), [(6, "loss", 0.25)])
    (alarm,) = store.diagnostics("t", job.id)
    assert alarm.data == {"code": "replay_differs", "step": 6, "name": "loss", "committed": 0.5, "replayed": 0.25}
    assert [point.value for point in store.metrics("t", job.id)][-1] == 0.5


def test_success_publishes_only_files_that_are_what_they_say(store: JobStore, engine: Engine, tmp_path: Path) -> None:
    job, _ = store.submit("t", {}, {})
    files, lease = ArtifactStore(tmp_path / "artifacts"), claimed(engine)
    model = files.publish("t", job.id, 1, "model.safetensors", b"weights")
    lie = Artifact(model.name, model.path, "0" * 64, model.size)
    with pytest.raises(DataError, match=r"model\.safetensors"):
        lease.succeed(Reason.COMPLETED, {}, [lie], store=files)
    lease.succeed(Reason.EARLY_STOPPED, {"epochs": 3}, [model], [(1, "loss", 0.5)], store=files)
    assert store.artifacts("t", job.id) == [model]
    done = store.get("t", job.id)
    assert (done.reason, done.progress, done.result) == (Reason.EARLY_STOPPED, 1.0, {"epochs": 3})
    (attempt,) = store.attempts("t", job.id)
    assert (attempt.outcome, attempt.worker, attempt.device) == ("succeeded", "w", "cpu")


def _die(engine: Engine, times: int, trainer_died: bool, progress: bool = False) -> list[JobState]:
    """The states after so many attempts that die, each with a checkpoint or without."""
    states = []
    for n in range(times):
        lease = claimed(engine)
        if progress:
            lease.checkpoint(checkpoint(n), [])
        states.append(lease.requeue("exit -9", trainer_died, 0))
    return states


@pytest.mark.parametrize(
    ("trainer_died", "progress", "attempts", "reason"),
    [
        (True, False, 3, Reason.POISON),
        (False, False, 10, Reason.WORKER_LOST),
        (True, True, 20, Reason.POISON),
        (False, True, 20, Reason.WORKER_LOST),
    ],
)
def test_a_job_that_keeps_dying_is_given_up(
    store: JobStore, engine: Engine, trainer_died: bool, progress: bool, attempts: int, reason: Reason
) -> None:
    job, _ = store.submit("t", {}, {})
    states = _die(engine, attempts, trainer_died, progress)
    assert states == [JobState.QUEUED] * (attempts - 1) + [JobState.FAILED]
    failed = store.get("t", job.id)
    assert (failed.reason, failed.message) == (reason, f"Gave up after attempt {attempts}: exit -9")
    assert Lease.claim(engine, "w", {"cpu"}) is None


def test_progress_forgives_earlier_deaths(store: JobStore, engine: Engine) -> None:
    store.submit("t", {}, {})
    _die(engine, 2, trainer_died=True)
    _die(engine, 1, trainer_died=True, progress=True)
    assert _die(engine, 2, trainer_died=True) == [JobState.QUEUED] * 2


def test_a_job_whose_time_is_up_does_not_come_back(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {"resources": {"max_runtime": 0.02}}, {})
    lease = claimed(engine)
    time.sleep(0.03)
    assert lease.requeue("drained", False) is JobState.FAILED
    assert store.get("t", job.id).reason is Reason.MAX_RUNTIME_EXCEEDED
    assert store.get("t", job.id).ran_seconds >= 0.03


def test_each_failure_in_a_row_waits_longer(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    claimed(engine).requeue("drained", False)
    again = store.get("t", job.id)
    assert 9 < (again.not_before - again.created_at).total_seconds() < 15
    assert Lease.claim(engine, "w", {"cpu"}) is None
    assert [transitions.backoff(n) for n in (0, 1, 2, 3, 6, 7, 50)] == [10, 10, 20, 40, 320, 360, 360]
