"""Jobs over HTTP: check, submit, list, show, cancel, stop, delete."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.fleet import Device, Worker
from services.jobs import Progress
from tests.api.stage import House, iris

YAML = """
schema: trainyard/v1
name: from-yaml
task: classification
dataset: {name: iris}
network:
  layers:
    - {type: dense, units: 3, activation: softmax}
training:
  loss: sparse_categorical_crossentropy
  optimizer: {type: sgd, learning_rate: 1e-2}
  epochs: 1
"""

TEN_MISTAKES: dict[str, Any] = {
    "schema": "trainyard/v9",
    "name": "",
    "task": "clasification",
    "dataset": {"name": "iris", "train_fraction": 2},
    "network": {
        "layers": [
            {"type": "dense", "units": -3},
            {"type": "denze", "units": 3},
            {"type": "dense", "units": 3, "activation": "reluu"},
        ]
    },
    "training": {
        "loss": "sparse_categorical_crossentropyy",
        "optimizer": {"type": "sgd", "learning_rat": 0.1},
        "epochs": 0,
        "batch_size": "half",
    },
    "colour": "blue",
}


def test_a_submitted_job_is_accepted_located_and_queued(house: House, user: TestClient) -> None:
    answer = user.post("/v1/jobs", json=iris())
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert (job["state"], job["name"], job["labels"], job["dataset"]) == ("queued", "iris-mlp", ["course-2"], "iris")
    assert job["queue"] == {"position": 1, "waiting_for": "a worker: none is running", "eta_seconds": None}
    assert job["created_at"].endswith("Z")


def test_the_spec_comes_back_resolved_and_the_outline_knows_the_parameters(user: TestClient) -> None:
    job = user.post("/v1/jobs", json=iris()).json()
    assert job["spec"]["dataset"]["split"]["train"] == 0.9
    assert job["outline"]["parameters"] == (4 * 8 + 8) + (8 * 3 + 3)
    assert user.post("/v1/jobs/validate", json=job["spec"]).status_code == 200


def test_yaml_and_json_are_one_model(user: TestClient) -> None:
    answer = user.post("/v1/jobs", content=YAML, headers={"Content-Type": "application/yaml; charset=utf-8"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["spec"]["training"]["optimizer"]["learning_rate"] == 0.01


def test_a_bell_is_rung_after_the_commit(house: House, user: TestClient) -> None:
    id = user.post("/v1/jobs", json=iris()).json()["id"]
    house.record.bells.stop()
    assert house.rung == [id]


def test_validate_answers_the_plan_and_queues_nothing(house: House, user: TestClient) -> None:
    plan = user.post("/v1/jobs/validate", json=iris()).json()
    assert plan["outline"]["parameters"] == 67
    assert plan["outline"]["bytes"]["weights"] >= 67 * 4
    assert plan["queue"] == {"position": 1, "waiting_for": "a worker: none is running", "eta_seconds": None}
    assert plan["workers"] == []
    assert user.get("/v1/jobs").json()["items"] == []


def test_a_worker_with_too_little_memory_does_not_fit(house: House, user: TestClient) -> None:
    for name, memory in (("small", 1000), ("large", 10**12), ("unknown", None)):
        house.record.fleet.register(Worker(name, "host", 1, Device("cpu", "CPU", memory)))
    assert user.post("/v1/jobs/validate", json=iris()).json()["workers"] == ["large", "unknown"]
    for name in ("large", "unknown"):
        house.record.fleet.forget(name)
    assert user.post("/v1/jobs/validate", json=iris()).json()["errors"][0]["code"] == "out_of_memory"


@pytest.mark.parametrize("route", ["/v1/jobs", "/v1/jobs/validate"])
def test_ten_mistakes_come_back_as_ten_errors(user: TestClient, route: str) -> None:
    answer = user.post(route, json=TEN_MISTAKES)
    errors = answer.json()["errors"]
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    paths = {error["path"] for error in errors}
    assert {
        "schema",
        "name",
        "task",
        "dataset.train_fraction",
        "network.layers[0].units",
        "network.layers[1].type",
        "network.layers[2].activation.type",
        "training.loss.type",
        "training.epochs",
        "training.batch_size",
        "training.optimizer.learning_rat",
        "colour",
    } <= paths
    assert all(error["message"] and error["code"] for error in errors)


def test_shapes_that_do_not_fit_name_the_layer_and_the_remedy(user: TestClient) -> None:
    layers = [
        {"type": "conv2d", "filters": 4, "kernel_size": 3},
        {"type": "dense", "units": 3, "activation": "softmax"},
    ]
    (error, *_) = user.post("/v1/jobs/validate", json=iris(network={"layers": layers})).json()["errors"]
    assert error["path"].startswith("network.layers[0]")
    assert error["message"]
    assert error["hint"]


def test_the_same_idempotency_key_gives_the_same_job(user: TestClient) -> None:
    headers = {"Idempotency-Key": "run-1"}
    first = user.post("/v1/jobs", json=iris(), headers=headers)
    again = user.post("/v1/jobs", json=iris(), headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert len(user.get("/v1/jobs").json()["items"]) == 1


def test_the_same_idempotency_key_with_another_body_is_refused(user: TestClient) -> None:
    headers = {"Idempotency-Key": "run-1"}
    user.post("/v1/jobs", json=iris(), headers=headers)
    answer = user.post("/v1/jobs", json=iris(name="other"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "key_reused")


def test_two_users_may_use_the_same_idempotency_key(house: House, user: TestClient) -> None:
    headers = {"Idempotency-Key": "run-1"}
    ids = {
        client.post("/v1/jobs", json=iris(), headers=headers).json()["id"]
        for client in (user, house.key("b", "submit"))
    }
    assert len(ids) == 2


def test_listing_pages_through_every_job_once_newest_first(user: TestClient, submit: Callable[..., str]) -> None:
    ids = [submit(name=f"job-{i}") for i in range(7)]
    seen, url = [], "/v1/jobs?limit=3"
    while url:
        page = user.get(url)
        seen += [job["id"] for job in page.json()["items"]]
        url = page.links["next"]["url"] if "next" in page.links else ""
        assert bool(url) == (page.json()["next_cursor"] is not None)
    assert seen == ids[::-1]


def test_listing_filters_by_state_and_label(user: TestClient, submit: Callable[..., str]) -> None:
    plain, marked = submit(), submit(labels=["exam"])
    user.post(f"/v1/jobs/{plain}/cancel")
    assert [job["id"] for job in user.get("/v1/jobs?label=exam").json()["items"]] == [marked]
    assert [job["id"] for job in user.get("/v1/jobs?state=cancelled").json()["items"]] == [plain]
    assert user.get("/v1/jobs?state=sleeping").status_code == 422
    assert user.get("/v1/jobs?limit=0&state=x").json()["errors"][0]["path"].startswith("query.")


@pytest.mark.parametrize("query", ["cursor=nonsense", "cursor=%00", "label=%00", "limit=1000", "limit=x"])
def test_odd_queries_are_mistakes_or_find_nothing(user: TestClient, query: str) -> None:
    answer = user.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_a_queued_job_is_cancelled_at_once_and_cannot_be_cancelled_twice(
    user: TestClient, submit: Callable[..., str]
) -> None:
    id = submit()
    answer = user.post(f"/v1/jobs/{id}/cancel")
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (
        202,
        "cancelled",
        "cancelled_by_user",
    )
    again = user.post(f"/v1/jobs/{id}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "already_finished")


def test_a_running_job_is_asked_to_stop_and_shows_its_progress(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    id = submit()
    lease = house.claim(id)
    lease.beat(Progress(step=5, total_steps=10, epoch=1, eta_seconds=2.5, phase="training"))
    job = user.post(f"/v1/jobs/{id}/stop").json()
    assert (job["state"], job["stop_requested"], job["progress"], job["phase"]) == ("running", True, 0.5, "training")
    assert lease.beat().stop
    assert [attempt["worker"] for attempt in job["attempts"]] == ["worker-1"]
    assert job["queue"] is None


def test_a_queued_job_cannot_be_stopped_because_it_has_no_model(user: TestClient, submit: Callable[..., str]) -> None:
    answer = user.post(f"/v1/jobs/{submit()}/stop")
    assert answer.status_code == 409
    assert "Cancel" in answer.json()["hint"]


def test_a_live_job_cannot_be_deleted_and_a_finished_one_frees_its_disk(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    id = submit()
    assert user.delete(f"/v1/jobs/{id}").status_code == 409
    house.finish(id)
    assert list(house.record.artifacts.folder.rglob("model.safetensors"))
    answer = user.delete(f"/v1/jobs/{id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert user.get(f"/v1/jobs/{id}").status_code == 404
    assert not list(house.record.artifacts.folder.rglob("model.safetensors"))


@pytest.mark.parametrize(
    "id", ["1", "..", "%2e%2e%2fetc", "%00", "é", "019ab0c2-6a1e-7c43-9f0e-3d2b1a0c9e8f", "a" * 5000]
)
def test_ids_that_are_none_are_not_found(user: TestClient, id: str) -> None:
    answer = user.get(f"/v1/jobs/{id}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_quota_of_queued_jobs_is_429(house: House, user: TestClient, submit: Callable[..., str]) -> None:
    object.__setattr__(house.record.jobs, "max_queued", 1)
    submit()
    answer = user.post("/v1/jobs", json=iris())
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert "retry-after" in answer.headers
