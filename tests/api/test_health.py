"""Alive, ready, numbers, workers and the queue."""

import shutil
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from services.fleet import Device, Worker
from tests.api.stage import House


def test_a_fresh_service_is_alive_and_ready(house: House) -> None:
    assert house.anonymous.get("/livez").json()["status"] == "ok"
    assert house.anonymous.get("/readyz").json() == {"status": "ok", "checks": {"database": "ok", "artifacts": "ok"}}


def test_without_its_database_it_is_not_ready_but_alive(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> int:
        raise OSError("postgresql://user:secret@host")

    monkeypatch.setattr(house.record.jobs, "last_event_number", away)
    answer = house.anonymous.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "does not answer (OSError)"
    assert house.anonymous.get("/livez").status_code == 200


def test_without_its_folder_it_is_not_ready(house: House) -> None:
    shutil.rmtree(house.record.artifacts.folder)
    assert house.anonymous.get("/readyz").status_code == 503


def test_numbers_say_jobs_workers_and_requests_by_route(
    user: TestClient, house: House, submit: Callable[..., str]
) -> None:
    user.get(f"/v1/jobs/{submit()}")
    house.record.fleet.register(Worker("w", "host", 1, Device("cpu", "a processor")))
    answer = user.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert 'trainyard_jobs{state="queued"} 1.0' in lines
    assert 'trainyard_workers{device="cpu"} 1.0' in lines
    assert 'trainyard_http_requests_total{method="GET",route="/v1/jobs/{id}",status="200"} 1.0' in lines
    assert "trainyard_event_watchers 0.0" in lines


def test_workers_are_shown_and_what_others_train_is_not(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    mine, foreign = submit(), house.queue("somebody-else")
    for name, job in (("a", mine), ("b", foreign), ("c", None)):
        device = Device("gpu", "a card", 80 << 30, 70 << 30)
        house.record.fleet.register(Worker(name, "yard", 7, device, current_job=job))
    a, b, c = user.get("/v1/workers").json()["items"]
    assert (a["current_job"], a["busy"]) == (mine, True)
    assert (b["current_job"], b["busy"]) == (None, True)
    assert (c["current_job"], c["busy"]) == (None, False)
    assert a["device"] == {"kind": "gpu", "name": "a card", "memory_total": 80 << 30, "memory_free": 70 << 30}
    assert "pid" not in a


def test_the_queue_is_counted(user: TestClient, submit: Callable[..., str]) -> None:
    submit()
    queue = user.get("/v1/queue").json()
    assert queue["depth"]["queued"] == 1
    assert queue["by_device"] == {"auto": 1}
    assert queue["oldest_wait_seconds"] >= 0
