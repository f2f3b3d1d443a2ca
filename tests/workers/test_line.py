"""Whatever the broker holds, a worker goes on: what is no bell is thrown away, and the next bell is heard."""

import json
import time
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from services.fleet import Fleet
from services.jobs import Job, JobState, JobStore
from tests.workers.conftest import until
from tests.workers.test_worker import Submit, ringing, worker
from workers import doorbell
from workers.app import SETTINGS, TRANSPORT, make_app
from workers.line import PAUSE_SECONDS, Transport

__all__ = ["ringing"]

QUEUE = "trainyard:trainyard.cpu"
FORGED = [
    b"garbage", b"\xff\xfe\x00", b"{}", b"[]", b"null", json.dumps({"body": "x" * 1_000_000}).encode(),
    json.dumps({"body": "", "properties": {}, "headers": {}}).encode(),
]  # fmt: skip


def test_forged_bells_and_keys_of_the_wrong_type_end_no_worker(
    tmp_path: Path, ringing: str, database: Engine, jobs: JobStore, submit: Submit
) -> None:
    with worker(tmp_path, redis_url=ringing, poll_seconds="300") as process, redis.Redis.from_url(ringing) as line:
        until(Fleet(database).workers, 60, "the worker's registration")
        until(lambda: "ready" in (tmp_path / "worker.log").read_text(), 60, "the worker's connection")
        for body in FORGED[:3]:
            line.lpush(QUEUE, body)
            until(lambda: line.llen(QUEUE) == 0, 30, "the end of the forged bell")
        line.lpush(QUEUE, *FORGED[3:])
        until(lambda: line.llen(QUEUE) == 0, 60, "the end of the forged bells")
        line.set(QUEUE, "no list at all")
        time.sleep(0.5)
        line.delete(QUEUE)
        assert process.poll() is None
        job: Job = submit("train", steps=2)
        until(lambda: doorbell.ring(job.id), 10, "the bell")
        until(lambda: jobs.get("course", job.id).state == JobState.SUCCEEDED, 30, "the job's success")
        assert process.poll() is None


def test_a_broken_line_is_not_opened_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(Transport.__mro__[1], "establish_connection", lambda self: "open")
    monkeypatch.setattr(Transport, "_connected", float("-inf"))
    line = object.__new__(Transport)
    assert line.establish_connection() == "open"
    assert slept == []
    assert line.establish_connection() == "open"
    assert 0 < slept[0] <= PAUSE_SECONDS


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_acks_late", False),
        ("task_reject_on_worker_lost", False),
        ("task_ignore_result", True),
        ("result_backend", None),
        ("accept_content", ["json"]),
        ("worker_disable_prefetch", True),
        ("worker_prefetch_multiplier", 1),
        ("worker_enable_remote_control", False),
        ("broker_connection_max_retries", None),
        ("broker_connection_retry_on_startup", True),
        ("task_publish_retry", False),
    ],
)
def test_the_settings_that_make_a_broker_disposable_are_in_force(setting: str, value: object) -> None:
    assert SETTINGS[setting] == value
    assert make_app("redis://127.0.0.1:1/0").conf[setting] == value
    assert TRANSPORT["socket_timeout"] == 5
