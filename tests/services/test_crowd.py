"""The look at the queue: what counting the rows says, for a handful of statements however long it is."""

import random
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert

from services.jobs import JobState, JobStore
from services.sql import crowd
from services.sql.crowd import Crowd, Crowds, Group
from services.sql.engine import reading, writing
from services.sql.ids import new_id
from services.sql.schema import jobs
from services.sql.types import utc_now

STATEMENTS = 5
"""For where the jobs of a page stand: the transaction, the queue, who runs, whose turn, which workers."""


def fill(engine: Engine, count: int, seed: int) -> list[dict[str, Any]]:
    """Queued and running jobs of all sorts, some in a back-off, some of unknown length."""
    dice, now, rows = random.Random(seed), utc_now(), []
    for _ in range(count):
        running = dice.random() < 0.1
        rows.append({
            "id": new_id(), "tenant": dice.choice("abc"), "priority": dice.choice([-1, 0, 1]), "name": "job",
            "labels": [], "spec": {}, "outline": {}, "device": dice.choice(["auto", "cpu", "gpu"]), "created_at": now,
            "state": "running" if running else "queued", "owner": "w" if running else None,
            "attempt": dice.choice([0, 1]), "not_before": now + timedelta(seconds=dice.choice([-10, 60])),
            "expected_seconds": dice.choice([None, 1.5, 40.0]),
        })  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(jobs), rows)
    return rows


def read(engine: Engine) -> Crowd:
    """A look at it now."""
    with reading(engine) as connection:
        return Crowd.read(connection, utc_now())


def counted(rows: list[dict[str, Any]]) -> Group:
    """A group of rows, counted one by one."""
    times = [row["expected_seconds"] for row in rows]
    known = [seconds for seconds in times if seconds is not None]
    return Group(len(rows), sum(known), len(known), min((row["id"] for row in rows), default=crowd.LAST))


@pytest.mark.parametrize("seed", range(3))
def test_it_says_what_counting_the_rows_says(engine: Engine, seed: int) -> None:
    rows = fill(engine, 120, seed)
    now = utc_now()
    due = [r for r in rows if r["state"] == "queued" and (r["attempt"] == 0 or r["not_before"] <= now)]
    seen = read(engine)
    assert seen.size == len(due)
    for devices, priority in product((("cpu",), ("auto", "gpu"), ("auto", "cpu", "gpu")), (-1, 0, 1)):
        there = [row for row in due if row["device"] in devices]
        urgent = {t: [r for r in there if r["tenant"] == t and r["priority"] > priority] for t in "abc"}
        equal = {t: [r for r in there if r["tenant"] == t and r["priority"] == priority] for t in "abc"}
        expected = {(t, "urgent"): counted(found) for t, found in urgent.items() if found}
        expected |= {(t, "equal"): counted(found) for t, found in equal.items() if found}
        assert seen.groups(devices, priority) == expected
        for id in (rows[0]["id"], rows[60]["id"], crowd.LAST):
            older = [row for row in equal["b"] if row["id"] < id]
            assert seen.older("b", devices, priority, id) == counted(older)


def test_where_a_page_of_jobs_stands_takes_no_more_statements_than_where_one_stands(
    store: JobStore, engine: Engine
) -> None:
    fill(engine, 300, 4)
    page = store.find("a", state=JobState.QUEUED, limit=50).items
    assert len(page) == 50
    said: list[str] = []
    note = lambda *call: said.append(call[2])  # noqa: E731
    event.listen(engine, "before_cursor_execute", note)
    try:
        store.places(page)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(said) <= STATEMENTS, said


def test_a_short_queue_is_looked_at_each_time(engine: Engine) -> None:
    crowds = Crowds()
    for count in (10, 20):
        fill(engine, 10, count)
        with reading(engine) as connection:
            assert crowds.seen(connection, utc_now()).size == read(engine).size


def test_a_long_queue_is_looked_at_again_after_a_while(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "FEW", 5)
    clock = 100.0
    monkeypatch.setattr(crowd.time, "monotonic", lambda: clock)
    crowds = Crowds()
    fill(engine, 40, 1)
    with reading(engine) as connection:
        first = crowds.seen(connection, utc_now())
    fill(engine, 40, 2)
    with reading(engine) as connection:
        clock += 0.9 * crowd.FRESH_SECONDS
        assert crowds.seen(connection, utc_now()) is first
        clock += 0.2 * crowd.FRESH_SECONDS
        assert crowds.seen(connection, utc_now()).size == read(engine).size > first.size


def test_a_look_that_took_long_is_good_for_longer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "FEW", 5)
    ticks = iter([100.0, 100.5, 100.5])
    monkeypatch.setattr(crowd.time, "monotonic", lambda: next(ticks))
    crowds = Crowds()
    fill(engine, 40, 1)
    with reading(engine) as connection:
        first = crowds.seen(connection, utc_now())
        monkeypatch.setattr(crowd.time, "monotonic", lambda: 100.5 + 0.5 * crowd.SHARE - 0.1)
        assert crowds.seen(connection, utc_now()) is first
