"""Studies move on whoever moves them: nothing twice, nothing lost, on both databases."""

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from services.errors import AlreadyFinished, Conflict, Invalid, KeyReused, NotFinished, NotFound, QuotaExceeded
from services.jobs import JobState, JobStore, Reason
from services.lease import Lease
from services.sql.engine import writing
from services.sql.schema import trials as trial_rows
from services.studies.advance import advance
from services.studies.spec import parse_study
from services.studies.store import StudyStore
from services.studies.values import Study, StudyState
from tests.services.studies.made import study

FIVE = parse_study(study("seeds", seeds=5, parallel=2, labels=["course-2"]))


@pytest.fixture
def studies(engine: Engine) -> StudyStore:
    return StudyStore(engine)


@pytest.fixture
def begun(studies: StudyStore) -> Study:
    return studies.submit("t", FIVE)[0]


def finish(engine: Engine, score: float = 0.9) -> str | None:
    """A worker takes the next job and succeeds."""
    lease = Lease.claim(engine, "w", {"cpu"})
    if lease is None:
        return None
    lease.succeed("completed", {"test": {"accuracy": score}}, [], [(1, "loss", 1.0), (2, "loss", 0.5)])
    return lease.job.id


def run_to_the_end(engine: Engine) -> int:
    """Workers and rounds until nothing is left; how many jobs ran."""
    count = 0
    for _ in range(50):
        advance(engine)
        while finish(engine, 0.9 + 0.01 * (count % 3)) is not None:
            count += 1
        if not advance(engine):
            return count
    raise AssertionError("the study does not end")


def test_a_posted_study_has_its_first_trials_in_the_queue_at_once(studies: StudyStore, begun: Study) -> None:
    assert (begun.state, begun.counts, begun.progress) == (StudyState.RUNNING, {"queued": 2, "waiting": 3}, 0)
    jobs = JobStore(studies.engine)
    queued = jobs.find("t").items
    assert {job.labels for job in queued} == {("course-2", f"study-{begun.id}")}
    assert sorted(jobs.bells()) == sorted(job.id for job in queued)
    assert [trial.job for trial in studies.trials("t", begun.id)[:2]] == sorted(job.id for job in queued)


def test_a_study_runs_to_its_verdict_with_no_more_in_flight_than_it_may(engine: Engine, studies: StudyStore) -> None:
    begun = studies.submit("t", FIVE)[0]
    ran = 0
    while finish(engine) is not None:
        ran += 1
        advance(engine)
        assert studies.get("t", begun.id).counts.get("queued", 0) <= 2
    done = studies.get("t", begun.id)
    assert (done.state, done.counts, done.progress, ran) == (StudyState.SUCCEEDED, {"succeeded": 5}, 1, 5)
    assert done.result is not None
    assert done.result["verdict"].startswith("accuracy is 0.9 ± 0")
    assert [row[0] for row in done.result["rows"]] == [3, 4, 5, 6, 7]
    assert done.finished_at is not None


def test_a_round_without_news_writes_nothing(engine: Engine, studies: StudyStore, begun: Study) -> None:
    assert advance(engine) == 0
    assert studies.get("t", begun.id).version == begun.version


def test_processes_that_advance_at_once_make_no_trial_twice(engine: Engine, studies: StudyStore) -> None:
    ids = [studies.submit("t", FIVE)[0].id for _ in range(3)]
    stop, broken = threading.Event(), list[Exception]()

    def keep_advancing() -> None:
        while not stop.is_set():
            try:
                advance(engine)
            except Exception as error:
                broken.append(error)
                return

    threads = [threading.Thread(target=keep_advancing) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        finish(engine)
        if all(studies.get("t", id).state is StudyState.SUCCEEDED for id in ids):
            break
    stop.set()
    for thread in threads:
        thread.join()
    assert broken == []
    for id in ids:
        assert len({trial.job for trial in studies.trials("t", id)}) == 5
    assert len(JobStore(engine).find("t", limit=100).items) == 15


def test_the_database_refuses_a_trial_twice(engine: Engine, studies: StudyStore, begun: Study) -> None:
    row = {"study": begun.id, "number": 9, "key": "", "varied": {}, "spec": {}, "outline": {}}
    with writing(engine) as connection:
        connection.execute(insert(trial_rows).values(row))
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(trial_rows).values(row | {"number": 10}))
    taken = studies.trials("t", begun.id)[0].job
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(trial_rows).values(row | {"number": 11, "key": "other", "job": taken}))


def test_a_lost_worker_costs_a_study_nothing(engine: Engine, studies: StudyStore, begun: Study) -> None:
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    pulse = JobStore(engine).pulses()[0]
    JobStore(engine).reap(pulse.job, pulse.attempt, pulse.beats, delay=0.0)
    assert run_to_the_end(engine) == 5
    assert studies.get("t", begun.id).counts == {"succeeded": 5}
    assert studies.trials("t", begun.id)[0].job == lease.job.id


def test_a_failed_trial_leaves_the_others_alone(engine: Engine, studies: StudyStore, begun: Study) -> None:
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    lease.fail(Reason.DIVERGED, "At step 3 the cost became infinite.", [(1, "loss", 2.3)])
    run_to_the_end(engine)
    done = studies.get("t", begun.id)
    assert (done.state, done.counts) == (StudyState.SUCCEEDED, {"failed": 1, "succeeded": 4})
    first = studies.trials("t", begun.id)[0]
    assert (first.reason, first.score) == ("diverged", None)


def test_a_study_of_failures_fails_with_the_first_reason(engine: Engine, studies: StudyStore, begun: Study) -> None:
    while (lease := Lease.claim(engine, "w", {"cpu"})) is not None:
        lease.fail(Reason.DATA_ERROR, "The file is gone.")
        advance(engine)
    done = studies.get("t", begun.id)
    assert (done.state, done.message) == (StudyState.FAILED, "No trial succeeded. The first one: The file is gone.")


def test_cancelling_a_study_cancels_its_jobs(engine: Engine, studies: StudyStore, begun: Study) -> None:
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    found = studies.cancel("t", begun.id)
    assert (found.state, found.counts) == (StudyState.RUNNING, {"cancelled": 4, "running": 1})
    assert lease.beat().cancel
    lease.cancelled()
    advance(engine)
    over = studies.get("t", begun.id)
    assert (over.state, over.counts) == (StudyState.CANCELLED, {"cancelled": 5})
    assert finish(engine) is None
    with pytest.raises(AlreadyFinished):
        studies.cancel("t", begun.id)


def test_cancelling_twice_is_the_same_wish(engine: Engine, studies: StudyStore, begun: Study) -> None:
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    studies.cancel("t", begun.id)
    studies.cancel("t", begun.id)
    asked = [e for e in JobStore(engine).events("t", lease.job.id) if e.data.get("cancel_requested")]
    assert len(asked) == 1


def test_seeds_added_later_extend_a_study(engine: Engine, studies: StudyStore, begun: Study) -> None:
    run_to_the_end(engine)
    before = {trial.job for trial in studies.trials("t", begun.id)}
    more = parse_study({**FIVE.spec, "seeds": 7})
    again = studies.extend("t", begun.id, more)
    assert (again.state, again.trials, again.finished_at) == (StudyState.RUNNING, 7, None)
    assert run_to_the_end(engine) == 2
    done = studies.get("t", begun.id)
    assert done.result is not None
    assert done.result["figures"]["seeds"] == 7
    assert before < {trial.job for trial in studies.trials("t", begun.id)}
    assert studies.extend("t", begun.id, more).state is StudyState.SUCCEEDED


def test_a_cancelled_study_is_not_extended(studies: StudyStore, begun: Study) -> None:
    studies.cancel("t", begun.id)
    with pytest.raises(Conflict):
        studies.extend("t", begun.id, parse_study({**FIVE.spec, "seeds": 7}))


def test_a_job_that_its_owner_cancels_or_deletes_is_no_end_of_the_study(
    engine: Engine, studies: StudyStore, begun: Study
) -> None:
    jobs = JobStore(engine)
    first, second = (trial.job for trial in studies.trials("t", begun.id)[:2])
    assert first is not None
    assert second is not None
    jobs.request_cancel("t", first)
    jobs.delete("t", first)
    jobs.request_cancel("t", second)
    assert studies.get("t", begun.id).counts == {"cancelled": 1, "deleted": 1, "waiting": 3}
    assert run_to_the_end(engine) == 3
    assert studies.get("t", begun.id).counts == {"cancelled": 1, "deleted": 1, "succeeded": 3}


def test_a_conclusion_outlives_the_jobs(engine: Engine, studies: StudyStore, begun: Study) -> None:
    run_to_the_end(engine)
    for trial in studies.trials("t", begun.id):
        assert trial.job is not None
        JobStore(engine).delete("t", trial.job)
    studies.extend("t", begun.id, parse_study({**FIVE.spec, "seeds": 6}))
    run_to_the_end(engine)
    done = studies.get("t", begun.id)
    assert done.result is not None
    assert done.result["figures"]["seeds"] == 6


def test_trials_that_wait_count_towards_the_quota(engine: Engine) -> None:
    studies = StudyStore(engine, max_queued=6)
    studies.submit("t", FIVE)
    with pytest.raises(QuotaExceeded, match="the limit is 6"):
        studies.submit("t", FIVE)
    assert studies.find("t").items[0].trials == 5
    assert len(studies.find("t").items) == 1
    studies.submit("u", FIVE)


def test_a_full_queue_makes_a_study_wait_and_not_fail(engine: Engine, studies: StudyStore, begun: Study) -> None:
    finish(engine)
    for _ in range(3):
        JobStore(engine).submit("t", {}, {})
    advance(engine, max_queued=4)
    assert studies.get("t", begun.id).counts == {"queued": 1, "succeeded": 1, "waiting": 3}
    advance(engine, max_queued=5)
    assert studies.get("t", begun.id).counts == {"queued": 2, "succeeded": 1, "waiting": 2}


def test_the_same_key_and_body_is_the_same_study(studies: StudyStore) -> None:
    first, created = studies.submit("t", FIVE, idempotency_key="k", body_sha="b")
    again, created_again = studies.submit("t", FIVE, idempotency_key="k", body_sha="b")
    assert (again, created, created_again) == (first, True, False)
    with pytest.raises(KeyReused):
        studies.submit("t", FIVE, idempotency_key="k", body_sha="other")
    assert studies.submit("u", FIVE, idempotency_key="k", body_sha="b")[0].id != first.id


def test_foreign_studies_do_not_exist(studies: StudyStore, begun: Study) -> None:
    for act in (studies.get, studies.trials, studies.cancel, studies.delete):
        with pytest.raises(NotFound, match="There is no study"):
            act("u", begun.id)
    assert studies.find("u").items == ()


def test_only_a_finished_study_is_deleted(engine: Engine, studies: StudyStore, begun: Study) -> None:
    with pytest.raises(NotFinished):
        studies.delete("t", begun.id)
    run_to_the_end(engine)
    studies.delete("t", begun.id)
    with pytest.raises(NotFound):
        studies.get("t", begun.id)
    assert {job.state for job in JobStore(engine).find("t").items} == {JobState.SUCCEEDED}


def test_studies_are_listed_newest_first_page_by_page(studies: StudyStore) -> None:
    ids = [studies.submit("t", FIVE)[0].id for _ in range(3)]
    page = studies.find("t", limit=2)
    assert [one.id for one in page.items] == ids[:0:-1]
    assert [one.id for one in studies.find("t", cursor=page.next_cursor, limit=2).items] == ids[:1]
    with pytest.raises(Invalid):
        studies.find("t", cursor="nonsense")


def test_an_upload_deleted_meanwhile_fails_its_trials_alone(engine: Engine, studies: StudyStore) -> None:
    lost = [trial.spec | {"dataset": {"upload": "ds_gone"}} for trial in FIVE.trials]
    planned: Any = parse_study(study("seeds", seeds=2))
    object.__setattr__(planned.trials[1], "spec", lost[1])
    begun = studies.submit("t", planned)[0]
    assert begun.counts == {"failed": 1, "queued": 1}
    run_to_the_end(engine)
    assert studies.get("t", begun.id).state is StudyState.SUCCEEDED


def test_what_cannot_be_concluded_says_so_and_ends(
    engine: Engine, studies: StudyStore, begun: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.studies.kinds.seeds.mean", lambda values: 1 / 0)
    run_to_the_end(engine)
    done = studies.get("t", begun.id)
    assert done.state is StudyState.FAILED
    assert "No conclusion could be drawn" in (done.message or "")
