"""Jobs as users see them: submitted once, found, cancelled, read, deleted. On both databases."""

import math
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from services.errors import AlreadyFinished, Conflict, Invalid, KeyReused, NotFinished, NotFound, QuotaExceeded
from services.jobs import Checkpoint, Job, JobState, JobStore, MetricPoint, Progress, Reason
from services.lease import Lease
from services.sql.ids import is_id, new_id
from services.sql.series import thin
from services.sql.types import utc_now

SPEC = {"name": "digits", "labels": ["course-2", "mlp"], "resources": {"device": "cpu", "max_runtime": "2h"}}


def claimed(engine: Engine) -> Lease:
    """The lease on the job next in line."""
    lease = Lease.claim(engine, "w", {"cpu", "gpu"})
    assert lease is not None
    return lease


def checkpoint(step: int, name: str = "c") -> Checkpoint:
    """A checkpoint whose file the record does not look at."""
    return Checkpoint(step, f"t/j/a1/{name}{step}", "0" * 64, 8)


def test_a_submitted_job_is_queued_with_its_event_and_its_doorbell(store: JobStore) -> None:
    job, created = store.submit("t", SPEC, {"parameters": 7})
    assert created
    assert is_id(job.id)
    assert (job.name, job.labels, job.state, job.attempt) == ("digits", ("course-2", "mlp"), JobState.QUEUED, 0)
    assert (job.device, job.priority, job.max_runtime) == ("cpu", 0, 7200)
    assert (job.spec, job.outline) == (SPEC, {"parameters": 7})
    assert [event.data["state"] for event in store.events("t", job.id)] == ["queued"]
    assert store.bells() == [job.id]


def test_the_same_key_and_body_is_the_same_job(store: JobStore) -> None:
    first, created = store.submit("t", SPEC, {}, idempotency_key="k", body_sha="b")
    again, created_again = store.submit("t", SPEC, {}, idempotency_key="k", body_sha="b")
    assert (again, created, created_again) == (first, True, False)
    other_tenant, _ = store.submit("u", SPEC, {}, idempotency_key="k", body_sha="b")
    assert other_tenant.id != first.id


def test_the_same_key_with_another_body_is_refused(store: JobStore) -> None:
    store.submit("t", SPEC, {}, idempotency_key="k")
    store.submit("t", SPEC, {}, idempotency_key="k")
    with pytest.raises(KeyReused):
        store.submit("t", SPEC | {"name": "other"}, {}, idempotency_key="k")


def test_retries_that_race_make_one_job(store: JobStore) -> None:
    barrier, results = threading.Barrier(4), list[tuple[Job, bool]]()

    def post() -> None:
        barrier.wait()
        results.append(store.submit("t", SPEC, {}, idempotency_key="k"))

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job, _ in results}) == 1
    assert sorted(created for _, created in results) == [False, False, False, True]


def test_a_full_queue_is_told_to_wait(engine: Engine) -> None:
    store = JobStore(engine, max_queued=2)
    store.submit("t", {}, {})
    last, _ = store.submit("t", {}, {})
    with pytest.raises(QuotaExceeded):
        store.submit("t", {}, {})
    store.submit("u", {}, {})
    store.request_cancel("t", last.id)
    store.submit("t", {}, {})


CALLS: list[Callable[[JobStore, str], Any]] = [
    lambda store, id: store.get("u", id),
    lambda store, id: store.request_cancel("u", id),
    lambda store, id: store.request_stop("u", id),
    lambda store, id: store.delete("u", id),
    lambda store, id: store.events("u", id),
    lambda store, id: store.logs("u", id),
    lambda store, id: store.diagnostics("u", id),
    lambda store, id: store.metrics("u", id),
    lambda store, id: store.attempts("u", id),
    lambda store, id: store.artifacts("u", id),
    lambda store, id: store.submit("u", {}, {}, parent_id=id),
]


@pytest.mark.parametrize("call", CALLS)
def test_what_belongs_to_others_does_not_exist(store: JobStore, call: Callable[[JobStore, str], Any]) -> None:
    job, _ = store.submit("t", {}, {})
    with pytest.raises(NotFound):
        call(store, job.id)
    assert store.find("u").items == ()


@pytest.mark.parametrize("id", ["", "x", "\0", "\ud800", "0" * 36, "x" * 10_000, "'; DROP TABLE jobs; --"])
def test_garbage_is_not_found(store: JobStore, id: str) -> None:
    with pytest.raises(NotFound):
        store.get("t", id)


def test_text_that_no_database_takes_does_no_harm(store: JobStore, engine: Engine) -> None:
    hostile = "a\0b\ud800c"
    job, _ = store.submit("t", {"name": hostile, "labels": [hostile], "x": [hostile]}, {}, idempotency_key=hostile)
    assert job.name == "a\ufffdb\ufffdc"
    assert store.find("t", label=hostile).items == ()
    lease = claimed(engine)
    lease.record([("log", {"level": "info", "text": hostile})])
    lease.fail("internal_error", hostile)
    assert store.get("t", job.id).message == "a\ufffdb\ufffdc"
    assert store.logs("t", job.id)[0].data["text"] == "a\0b\ufffdc"


def test_a_listing_pages_from_the_newest_to_the_oldest(store: JobStore) -> None:
    ids = [store.submit("t", {}, {})[0].id for _ in range(5)]
    first = store.find("t", limit=2)
    second = store.find("t", limit=2, cursor=first.next_cursor)
    third = store.find("t", limit=2, cursor=second.next_cursor)
    assert [job.id for page in (first, second, third) for job in page.items] == ids[::-1]
    assert third.next_cursor is None
    assert store.find("t", limit=5).next_cursor is None
    with pytest.raises(Invalid):
        store.find("t", cursor="x")


def test_a_listing_filters_by_state_and_label(store: JobStore) -> None:
    one, _ = store.submit("t", {"labels": ["a", "b"]}, {})
    two, _ = store.submit("t", {"labels": ["b", "b"]}, {})
    store.request_cancel("t", one.id)
    assert [job.id for job in store.find("t", label="b").items] == [two.id, one.id]
    assert [job.id for job in store.find("t", label="b", state=JobState.CANCELLED).items] == [one.id]
    assert [job.id for job in store.find("t", state=JobState.QUEUED).items] == [two.id]


def test_a_queued_job_is_cancelled_at_once(store: JobStore) -> None:
    job, _ = store.submit("t", {}, {})
    job = store.request_cancel("t", job.id)
    assert (job.state, job.reason) == (JobState.CANCELLED, Reason.CANCELLED_BY_USER)
    assert job.finished_at is not None
    assert store.bells() == []
    with pytest.raises(AlreadyFinished):
        store.request_cancel("t", job.id)


def test_the_holder_of_a_running_job_hears_of_cancel_and_stop(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claimed(engine)
    assert (lease.beat().cancel, lease.beat().stop) == (False, False)
    assert store.request_stop("t", job.id).stop_requested
    assert store.request_cancel("t", job.id).cancel_requested
    store.request_cancel("t", job.id)
    assert (lease.beat().cancel, lease.beat().stop) == (True, True)
    wishes = [event.data for event in store.events("t", job.id)][2:]
    assert [sorted(set(data) - {"state", "attempt"}) for data in wishes] == [["stop_requested"], ["cancel_requested"]]


def test_a_wish_to_stop_survives_the_queue(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    with pytest.raises(Conflict):
        store.request_stop("t", job.id)
    lease = claimed(engine)
    lease.checkpoint(checkpoint(5), [])
    lease.requeue("drained", False, 0)
    store.request_stop("t", job.id)
    assert claimed(engine).beat().stop


def test_success_wins_the_race_with_cancel(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    claimed(engine).succeed("completed", {"accuracy": 0.99}, [])
    with pytest.raises(AlreadyFinished, match="succeeded"):
        store.request_cancel("t", job.id)
    assert store.get("t", job.id).result == {"accuracy": 0.99}


def test_events_are_numbered_and_can_be_read_from_anywhere(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claimed(engine)
    lease.record([("log", {"level": "info", "text": "one"}), ("metric", {"step": 1, "values": {"loss": 2.0}})])
    lease.record([("diagnostic", {"code": "dead_relu"})])
    events = store.events("t", job.id)
    assert [event.kind for event in events] == ["state", "state", "log", "metric", "diagnostic"]
    assert [event.number for event in events] == sorted({event.number for event in events})
    assert store.events("t", job.id, after=events[2].number) == events[3:]
    assert store.events("t", job.id, limit=2) == events[:2]
    assert store.last_event_number() == events[-1].number
    assert [event.data["text"] for event in store.logs("t", job.id)] == ["one"]
    assert [event.data["code"] for event in store.diagnostics("t", job.id)] == ["dead_relu"]


def test_a_holder_cannot_forge_a_change_of_state(store: JobStore, engine: Engine) -> None:
    store.submit("t", {}, {})
    with pytest.raises(ValueError, match="unknown event kind 'state'"):
        claimed(engine).record([("state", {"state": "succeeded"})])


def test_metrics_join_committed_rows_and_the_live_tail(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claimed(engine)
    lease.record([("metric", {"step": step, "values": {"loss": 10.0 - step}}) for step in range(1, 5)])
    lease.checkpoint(checkpoint(2), [(1, "loss", 9.0), (2, "loss", 8.0), (2, "accuracy", 0.5)])
    found = [(point.step, point.name, point.value) for point in store.metrics("t", job.id)]
    assert found == [(1, "loss", 9), (2, "accuracy", 0.5), (2, "loss", 8), (3, "loss", 7), (4, "loss", 6)]
    assert [point.step for point in store.metrics("t", job.id, ["loss"], since=2)] == [2, 3, 4]
    lease.requeue("killed", True, 0)
    claimed(engine)
    assert max(point.step for point in store.metrics("t", job.id)) == 2


def test_values_that_are_no_numbers_come_back_as_they_were(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    lease = claimed(engine)
    lease.checkpoint(checkpoint(2), [(1, "loss", math.inf), (2, "loss", math.nan)])
    lease.record([("metric", {"step": 3, "values": {"loss": math.nan}})])
    values = [point.value for point in store.metrics("t", job.id)]
    assert values[0] == math.inf
    assert [math.isnan(value) for value in values[1:]] == [True, True]


SERIES = st.lists(st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf])), max_size=200)


@given(values=SERIES, most=st.integers(2, 60))
def test_thinning_keeps_the_smallest_and_the_largest(values: list[float], most: int) -> None:
    points = [MetricPoint(step, "loss", value, 1, utc_now()) for step, value in enumerate(values)]
    kept = thin(points, most)
    assert len(kept) <= most
    assert [point.step for point in kept] == sorted({point.step for point in kept})
    assert set(map(id, kept)) <= set(map(id, points))
    numbers = [value for value in values if not math.isnan(value)]
    if numbers:
        assert {min(numbers), max(numbers)} <= {point.value for point in kept}
    if len(points) > 0 and most >= 4:
        assert (kept[0], kept[-1]) == (points[0], points[-1])


@given(most=st.integers(2, 20))
def test_each_metric_is_thinned_by_itself(most: int) -> None:
    points = [MetricPoint(step, name, step, 1, utc_now()) for step in range(50) for name in ("a", "b")]
    kept = thin(points, most)
    assert [p.step for p in kept if p.name == "a"] == [p.step for p in kept if p.name == "b"]
    assert len(kept) <= 2 * most


def test_a_doorbell_rings_again_until_the_job_is_claimed(
    store: JobStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = store.submit("t", {}, {})
    later = JobStore(engine)
    assert later.bells() == [job.id]
    now = utc_now()
    for rings, pause in enumerate([10, 20, 40, 80, 160, 300, 300]):
        monkeypatch.setattr("services.sql.line.utc_now", lambda now=now: now)
        assert later.bells() == [job.id], rings
        later.rung([job.id])
        monkeypatch.setattr("services.sql.line.utc_now", lambda now=now, p=pause: now + timedelta(seconds=p - 1))
        assert later.bells() == []
        now += timedelta(seconds=pause + 1)
    monkeypatch.setattr("services.sql.line.utc_now", utc_now)
    claimed(engine)
    monkeypatch.setattr("services.sql.line.utc_now", lambda: now)
    assert later.bells() == []


def test_a_requeued_job_has_a_fresh_doorbell(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    store.rung([job.id])
    claimed(engine).requeue("drained", False, 0)
    assert store.bells() == [job.id]
    claimed(engine).requeue("drained", False, 60)
    assert store.bells() == []


def test_the_urgent_come_first_then_the_early(store: JobStore, engine: Engine) -> None:
    ids = {}
    for name, priority in [("b", "normal"), ("c", "normal"), ("d", "low"), ("a", "high")]:
        ids[name] = store.submit("t", {"name": name, "resources": {"priority": priority}}, {})[0].id
    assert store.bells() == [ids[name] for name in "abcd"]
    assert [store.queue_of(store.get("t", ids[name])).position for name in "abcd"] == [1, 2, 3, 4]
    assert [claimed(engine).job.name for _ in range(4)] == ["a", "b", "c", "d"]
    assert store.queue_of(store.get("t", ids["a"])).position is None


def test_a_retry_goes_on_where_its_parent_stopped(store: JobStore, engine: Engine) -> None:
    parent, _ = store.submit("t", {}, {})
    with pytest.raises(Conflict):
        store.submit("t", {}, {}, parent_id=parent.id, resume=True)
    lease = claimed(engine)
    lease.checkpoint(checkpoint(4), [(4, "loss", 1.0)], progress=Progress(step=4, total_steps=8))
    lease.fail("storage_full", "no space", [(5, "loss", 0.5)])
    child, _ = store.submit("t", {}, {}, parent_id=parent.id, resume=True)
    assert (child.parent_id, child.checkpoint_step, child.progress) == (parent.id, 4, 0.5)
    assert [(point.step, point.value) for point in store.metrics("t", child.id)] == [(4, 1.0)]
    with pytest.raises(Conflict, match="goes on from this job's checkpoint"):
        store.delete("t", parent.id)
    taken = claimed(engine)
    assert taken.resume_from == checkpoint(4)
    flags = [taken.checkpoint(checkpoint(step, "d"), []) for step in (5, 6)]
    assert [flag.dropped for flag in flags] == [(), ()]
    taken.succeed("completed", {}, [])
    assert store.delete("t", parent.id) == ["t/j/a1/c4"]


def test_a_finished_job_can_be_forgotten(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", SPEC, {}, idempotency_key="k")
    lease = claimed(engine)
    with pytest.raises(NotFinished):
        store.delete("t", job.id)
    lease.checkpoint(checkpoint(1), [(1, "loss", 1.0)])
    lease.fail("diverged", "loss is NaN")
    assert store.delete("t", job.id) == ["t/j/a1/c1"]
    with pytest.raises(NotFound):
        store.get("t", job.id)
    assert store.submit("t", SPEC, {}, idempotency_key="k")[1]


def test_ids_grow_with_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert all(map(is_id, ids))
