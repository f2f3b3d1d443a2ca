"""The audit log on both databases: pages, filters, and a size that nobody can drive up."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update

from services.audit import LONGEST, AuditLog, Deed
from services.errors import Invalid
from services.sql.engine import reading, writing
from services.sql.schema import audit
from services.sql.types import utc_now

DEED = Deed("submit_job", "done", 202, "r", "10.0.0.1", key="k", tenant="t", object="j")


@pytest.fixture
def log(engine: Engine) -> AuditLog:
    """An empty log that keeps a week."""
    return AuditLog(engine, days=7)


def test_deeds_come_back_newest_first_page_by_page(log: AuditLog) -> None:
    for number in range(5):
        log.note(replace(DEED, object=str(number)))
    found, cursor = [], None
    while True:
        page = log.find(limit=2, cursor=cursor)
        found += [event.object for event in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert found == ["4", "3", "2", "1", "0"]


def test_one_keys_deeds_and_one_outcome_can_be_asked_for(log: AuditLog) -> None:
    log.note(DEED)
    log.note(replace(DEED, key="other", outcome="failed"))
    assert [event.key for event in log.find(key="k").items] == ["k"]
    assert [event.key for event in log.find(outcome="failed").items] == ["other"]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "9" * 16, "1 OR 1=1", "²"])
def test_a_cursor_that_is_none_is_refused(log: AuditLog, cursor: str) -> None:
    with pytest.raises(Invalid):
        log.find(cursor=cursor)


def test_long_and_impossible_texts_are_cut_and_cleaned(log: AuditLog) -> None:
    log.note(replace(DEED, object="x" * 5000, address="a\0b\ud800"))
    [event] = log.find().items
    assert event.object == "x" * LONGEST
    assert event.address == "a\ufffdb\ufffd"


def test_what_is_too_old_is_forgotten(log: AuditLog, engine: Engine) -> None:
    log.note(DEED)
    log.note(replace(DEED, object="new"))
    old = select(audit.c.number).order_by(audit.c.number).limit(1).scalar_subquery()
    with writing(engine) as connection:
        connection.execute(update(audit).where(audit.c.number == old).values(at=utc_now() - timedelta(days=8)))
    assert log.sweep() == 1
    assert [event.object for event in log.find().items] == ["new"]


def test_each_outcome_has_its_own_share_of_the_room(log: AuditLog, engine: Engine) -> None:
    log.note(DEED)
    for number in range(30):
        log.note(replace(DEED, outcome="refused", object=str(number)))
    assert log.sweep({"done": 10, "refused": 10}) == 20
    assert [event.object for event in log.find(outcome="refused", limit=50).items] == [
        str(n) for n in range(29, 19, -1)
    ]
    with reading(engine) as connection:
        assert connection.execute(select(audit.c.object).where(audit.c.outcome == "done")).scalars().all() == ["j"]
