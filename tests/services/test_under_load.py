"""What keeps answers quick: lists without specs, one look for a job, news of many jobs at once, indexes that answer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from services.errors import NotFound, Unavailable
from services.jobs import Artifact, JobHead, JobState, JobStore, Reason
from services.lease import Lease
from services.sql.engine import open_engine, reading, writing
from services.sql.ids import new_id

SPEC = {"name": "digits", "labels": ["b", "a"], "task": "classification", "dataset": {"name": "digits"}}
PLAN = {"dataset": "digits", "parameters": 7}


def taken(engine: Engine) -> Lease:
    """The lease on the next job."""
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    return lease


def test_a_list_says_of_each_job_what_the_job_itself_says(store: JobStore, engine: Engine) -> None:
    done, _ = store.submit("t", SPEC, PLAN)
    taken(engine).succeed(Reason.COMPLETED, {"test": {"accuracy": 0.5}}, [])
    store.submit("t", SPEC, PLAN)
    for head, job in zip(store.heads("t").items, store.find("t").items, strict=True):
        shared = [field.name for field in fields(JobHead) if field.name not in {"task", "dataset"}]
        assert [getattr(head, name) for name in shared] == [getattr(job, name) for name in shared]
        assert (head.task, head.dataset) == ("classification", "digits")
    assert [head.id for head in store.heads("t", state=JobState.SUCCEEDED).items] == [done.id]


@pytest.mark.parametrize(
    ("spec", "plan", "found"),
    [
        ({"dataset": {"split": {}}}, {"dataset": "my-flowers"}, (None, "my-flowers")),
        ({"task": "reinforcement", "environment": {"name": "CartPole-v1"}}, {}, ("reinforcement", "CartPole-v1")),
        ({}, {}, (None, None)),
    ],
)
def test_a_list_names_what_is_learned_from(
    store: JobStore, spec: dict[str, Any], plan: dict[str, Any], found: tuple[str | None, str | None]
) -> None:
    store.submit("t", spec, plan)
    (head,) = store.heads("t").items
    assert (head.task, head.dataset) == found


def test_pages_of_a_list_meet_without_gap(store: JobStore) -> None:
    ids = [store.submit("t", SPEC, PLAN)[0].id for _ in range(5)]
    first = store.heads("t", limit=3)
    rest = store.heads("t", limit=3, cursor=first.next_cursor)
    assert [head.id for head in first.items + rest.items] == ids[::-1]
    assert rest.next_cursor is None
    assert store.heads("t", label="\0").items == ()


def test_one_look_shows_a_job_with_everything_that_belongs_to_it(store: JobStore, engine: Engine) -> None:
    id = store.submit("t", SPEC, PLAN)[0].id
    assert store.view("t", id).place == store.queue_of(store.get("t", id))
    taken(engine).succeed(Reason.COMPLETED, {}, [Artifact("m", f"t/{id}/m", "0" * 64, 1, 1)])
    view = store.view("t", id)
    assert (view.job, list(view.attempts), list(view.artifacts)) == (
        store.get("t", id), store.attempts("t", id), store.artifacts("t", id)
    )  # fmt: skip
    assert view.event_number == store.last_event_number() == store.events("t", id)[-1].number
    for who, what in (("u", id), ("t", new_id()), ("t", "?")):
        with pytest.raises(NotFound):
            store.view(who, what)


def test_news_are_the_events_of_each_watched_job_above_its_mark(store: JobStore) -> None:
    one, two, three = (store.submit("t", SPEC, PLAN)[0].id for _ in range(3))
    numbers = {id: store.events("t", id)[0].number for id in (one, two, three)}
    store.request_cancel("t", two)
    news = store.news({one: 0, two: numbers[two]}, None)
    assert {id: [event.number for event in found] for id, found in news.items()} == {
        one: [numbers[one]], two: [store.last_event_number()]
    }  # fmt: skip
    assert set(store.news({one: 0, two: 0}, numbers[three])) == {two}
    assert store.news({one: 0, two: 0}, store.last_event_number()) == {}


def test_watched_jobs_that_were_deleted_are_known(store: JobStore) -> None:
    here, gone = (store.submit("t", SPEC, PLAN)[0].id for _ in range(2))
    store.request_cancel("t", gone)
    store.delete("t", gone)
    assert store.gone([here, gone]) == {gone}
    assert store.gone([]) == set()


@contextmanager
def plans_of(engine: Engine) -> Iterator[list[str]]:
    """How SQLite will find the rows of every question asked inside."""
    asked: list[tuple[str, Any]] = []
    found: list[str] = []

    def note(_c: object, _k: object, statement: str, values: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
            asked.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with reading(engine) as connection:
        for statement, values in asked:
            found += [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]


def test_no_question_of_a_busy_service_walks_over_a_whole_table(sqlite_engine: Engine) -> None:
    store = JobStore(sqlite_engine, max_queued=10)
    id = store.submit("t", SPEC, PLAN)[0].id
    with plans_of(sqlite_engine) as plans:
        store.submit("t", SPEC, PLAN, idempotency_key="k")
        store.view("t", id)
        store.heads("t", state=JobState.FAILED)
        store.logs("t", id)
        store.metrics("t", id)
        store.news({id: 0}, 0)
        store.pulses()
        taken(sqlite_engine).beat()
    walks = {plan.split()[1] for plan in plans if plan.startswith("SCAN") and "COVERING INDEX" not in plan}
    assert {walk for walk in walks if "lanes" not in walk} <= {"workers", "turns"}, "there are few of them"


@pytest.mark.parametrize(
    ("index", "ask"),
    [
        ("jobs_by_lane", lambda store, id: store.queue_of(store.get("t", id))),
        ("jobs_by_lane", lambda store, id: Lease.claim(store.engine, "w", {"gpu"})),
        ("jobs_by_state", lambda store, id: store.submit("t", SPEC, PLAN)),
        ("metric_events", lambda store, id: store.metrics("t", id)),
        ("log_events", lambda store, id: store.logs("t", id)),
    ],
)
def test_each_index_is_there_for_a_question(sqlite_engine: Engine, index: str, ask: Any) -> None:
    store = JobStore(sqlite_engine, max_queued=10)
    id = store.submit("t", SPEC, PLAN)[0].id
    with plans_of(sqlite_engine) as plans:
        ask(store, id)
    assert any(f"INDEX {index} " in plan for plan in plans)


def test_threads_that_write_wait_for_their_turn(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/turns.db"
    engine, impatient = open_engine(url), open_engine(url, busy_seconds=0)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE n (n INTEGER)"))

    def add() -> None:
        for _ in range(20):
            with writing(engine) as connection:
                connection.execute(text("INSERT INTO n VALUES (1)"))

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM n")).scalar() == 120
    refused: list[bool] = []

    def late() -> None:
        with pytest.raises(Unavailable), writing(impatient):
            pass
        refused.append(True)

    with writing(impatient):
        other = threading.Thread(target=late)
        other.start()
        other.join()
    assert refused == [True]
    impatient.dispose()
    engine.dispose()
