"""What users are told while the database is locked or its disk is full: come again, never a broken server."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, text
from starlette.testclient import TestClient

from api import main
from services.settings import Settings
from services.sql.engine import writing
from tests.api.stage import House, iris, open_house


@pytest.fixture
def house(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A running application that waits one second for its turn to write."""
    monkeypatch.setattr(main, "BUSY_SECONDS", 1)
    yield from open_house(settings)


@contextlib.contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Somebody writes and does not end."""
    file = Path(settings.data_dir) / "trainyard.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_while_the_database_is_locked_writers_are_told_when_to_come_again_and_readers_go_on(
    house: House, user: TestClient, settings: Settings
) -> None:
    with locked(settings):
        answer = user.post("/v1/jobs", json=iris())
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert answer.json()["code"] == "unavailable"
        began = time.monotonic()
        for _ in range(5):
            assert user.get("/v1/jobs").status_code == 200
        assert time.monotonic() - began < 20
    assert user.post("/v1/jobs", json=iris()).status_code == 202


def test_when_the_disk_is_full_a_post_is_507_and_leaves_nothing(house: House, user: TestClient) -> None:
    engine = house.record.jobs.engine
    with writing(engine) as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()

    def limit(raw: sqlite3.Connection, _record: object) -> None:
        raw.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(engine, "connect", limit)
    engine.dispose()
    answers = [user.post("/v1/jobs", json=iris()) for _ in range(40)]
    assert {answer.status_code for answer in answers} <= {202, 507}
    assert answers[-1].json()["code"] == "storage_full"
    accepted = sum(answer.status_code == 202 for answer in answers)
    assert len(user.get("/v1/jobs").json()["items"]) == accepted
    event.remove(engine, "connect", limit)
    engine.dispose()
    assert user.post("/v1/jobs", json=iris()).status_code == 202
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
