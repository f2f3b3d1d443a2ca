"""Retries, replays and receipts over HTTP: what may change, what is refused and why, and what a verdict says."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from services.jobs import Checkpoint, Progress, Reason
from services.lease import Lease
from services.receipt import canonical_sha256, environment
from services.settings import Settings
from tests.api.stage import House, iris, open_house

ROWS = [(step, "loss", 1.0 / step) for step in range(1, 11)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One application for all tests."""
    yield from open_house(Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("descent")))


@pytest.fixture
def user(house: House) -> Iterator[TestClient]:
    """A tenant of the test's own; what it left in the queue is cancelled, so that nobody else claims it."""
    client = house.key(f"user-{uuid4().hex}", "read", "submit", "cancel")
    yield client
    for job in client.get("/v1/jobs", params={"state": "queued"}).json()["items"]:
        client.post(f"/v1/jobs/{job['id']}/cancel")


@pytest.fixture
def posted(user: TestClient) -> str:
    """A job as the API resolves it."""
    return str(user.post("/v1/jobs", json=iris()).json()["id"])


def ended(
    house: House, job: str, *, at: int | None = 6, weights: str = "w", rows: Any = ROWS, fail: bool = False
) -> None:
    """Run a queued job: a checkpoint at step `at`, then success, or a diverged failure."""
    lease = Lease.claim(house.record.jobs.engine, "worker-1", {"cpu"}, environment=environment("a CPU", 2))
    assert lease is not None
    assert lease.job.id == job
    if at is not None and lease.resume_from is None:
        file = house.record.artifacts.publish(lease.job.tenant, job, lease.attempt, f"checkpoint-{at}", b"state")
        place = Checkpoint(at, file.path, file.sha256, file.size)
        lease.checkpoint(place, [row for row in rows if row[0] <= at], progress=Progress(at, 12))
    if fail:
        lease.fail(Reason.DIVERGED, "The loss is no number.", rows)
        return
    done = lease.resume_from.step if lease.resume_from else 0
    model = house.record.artifacts.publish(lease.job.tenant, job, lease.attempt, "model.safetensors", b"weights")
    result = {"test": {"accuracy": 0.97}, "weights_sha256": weights, "dataset_sha256": "d" * 64}
    lease.succeed(Reason.COMPLETED, result, [model], [row for row in rows if row[0] > done])


def patch(**changes: Any) -> dict[str, Any]:
    """A retry's body."""
    return {"with": changes}


def test_a_retry_goes_on_from_the_last_checkpoint(house: House, user: TestClient, posted: str) -> None:
    ended(house, posted)
    answer = user.post(
        f"/v1/jobs/{posted}/retry", json=patch(training={"epochs": 40, "optimizer": {"learning_rate": 0.01}})
    )
    child = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{child['id']}"
    assert (child["parent_id"], child["origin"], child["checkpoint_step"]) == (posted, "retry", 6)
    assert child["spec"]["training"]["epochs"] == 40
    assert child["spec"]["training"]["optimizer"]["learning_rate"] == 0.01
    assert child["outline"]["total_steps"] > child["step"] == 6


def test_without_a_checkpoint_a_retry_begins_anew(house: House, user: TestClient, posted: str) -> None:
    user.post(f"/v1/jobs/{posted}/cancel")
    child = user.post(f"/v1/jobs/{posted}/retry").json()
    assert (child["origin"], child["checkpoint_step"], child["state"]) == ("retry", None, "queued")
    refused = user.post(f"/v1/jobs/{posted}/retry", json={"from": "checkpoint"})
    assert (refused.status_code, refused.json()["hint"]) == (409, "Say from: start, or replay the job.")


@pytest.mark.parametrize("verb", ["retry", "replay", "receipt"])
def test_a_live_job_has_no_children_and_no_receipt(user: TestClient, posted: str, verb: str) -> None:
    path = f"/v1/jobs/{posted}/{verb}"
    answer = user.get(path) if verb == "receipt" else user.post(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")


REFUSED: Mapping[str, dict[str, Any]] = {
    "network.layers[0].units": {  # a list is replaced as a whole
        "network": {"layers": [{**iris()["network"]["layers"][0], "units": 9}, iris()["network"]["layers"][1]]}
    },
    "dataset.split.seed": {"dataset": {"split": {"seed": 9}}},
    "training.batch_size": {"training": {"batch_size": 8}},
    "training.seed": {"training": {"seed": 8}},
    "training.metrics": {"training": {"metrics": ["accuracy", "top_2_accuracy"]}},
    "training.optimizer": {"training": {"optimizer": {"momentum": 0.9}}},
}  # fmt: skip


@pytest.mark.parametrize("path", REFUSED)
def test_what_a_checkpoint_does_not_survive_needs_a_fresh_start(
    house: House, user: TestClient, posted: str, path: str
) -> None:
    ended(house, posted)
    answer = user.post(f"/v1/jobs/{posted}/retry", json={"with": REFUSED[path]})
    assert answer.status_code == 422, answer.text
    (mistake,) = answer.json()["errors"]
    assert (mistake["path"], mistake["code"]) == (path, "needs_fresh_start")
    assert "from: start" in mistake["hint"]
    child = user.post(f"/v1/jobs/{posted}/retry", json={"from": "start", "with": REFUSED[path]})
    assert (child.status_code, child.json()["checkpoint_step"]) == (202, None)


def test_all_mistakes_of_a_patch_come_at_once(house: House, user: TestClient, posted: str) -> None:
    ended(house, posted)
    answer = user.post(f"/v1/jobs/{posted}/retry", json=patch(training={"epochs": 0, "momentum": 3}))
    assert {e["path"] for e in answer.json()["errors"]} == {"training.epochs", "training.momentum"}
    assert user.post(f"/v1/jobs/{posted}/retry", json={"patch": {}}).status_code == 422


def test_with_an_idempotency_key_a_retry_is_made_once(house: House, user: TestClient, posted: str) -> None:
    ended(house, posted)
    key = {"Idempotency-Key": "again"}
    first, second = (user.post(f"/v1/jobs/{posted}/retry", headers=key).json()["id"] for _ in range(2))
    other = user.post(f"/v1/jobs/{posted}/retry", headers=key, json=patch(training={"epochs": 3}))
    assert first == second
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    assert user.post(f"/v1/jobs/{posted}/replay", headers=key).json()["code"] == "key_reused"


def test_once_the_parent_is_deleted_a_retry_of_the_retry_begins_anew(
    house: House, user: TestClient, posted: str
) -> None:
    ended(house, posted)
    child = user.post(f"/v1/jobs/{posted}/retry").json()["id"]
    assert user.delete(f"/v1/jobs/{posted}").status_code == 409
    ended(house, child)
    assert user.delete(f"/v1/jobs/{posted}").status_code == 204
    assert user.post(f"/v1/jobs/{child}/retry").json()["checkpoint_step"] is None


Replayed = Callable[..., dict[str, Any]]


@pytest.fixture
def replayed(house: House, user: TestClient, posted: str) -> Replayed:
    """The verdict on a replay that ran like this."""

    def run(**how: Any) -> dict[str, Any]:
        ended(house, posted)
        child = user.post(f"/v1/jobs/{posted}/replay").json()
        assert (child["parent_id"], child["origin"], child["checkpoint_step"]) == (posted, "replay", None)
        assert child["spec"] == user.get(f"/v1/jobs/{posted}").json()["spec"]
        assert user.delete(f"/v1/jobs/{posted}").status_code == 409
        ended(house, child["id"], at=None, **how)
        verdict = user.get(f"/v1/jobs/{child['id']}").json()["result"]["replay"]
        assert verdict["of"] == posted
        return dict(verdict)

    return run


def test_a_replay_that_does_the_same_is_identical(replayed: Replayed) -> None:
    found = replayed()
    assert (found["verdict"], found["compared"], found["unequal"], found["parted"]) == ("identical", 11, 0, None)
    assert found["weights"]["equal"]
    assert found["differs"] == {}


def test_a_replay_says_where_it_parted(replayed: Replayed) -> None:
    rows = [(step, name, value + (step >= 7) * 0.5) for step, name, value in ROWS]
    found = replayed(rows=rows, weights="other")
    assert found["verdict"] == "different"
    assert found["parted"] == {"step": 7, "metric": "loss", "original": 1 / 7, "replay": 1 / 7 + 0.5}
    assert "4 of 11 values differ, first at step 7: loss was 0.142857143, now 0.642857143" in found["message"]
    assert not found["weights"]["equal"]


def test_rounding_is_within_tolerance(replayed: Replayed) -> None:
    found = replayed(rows=[(step, name, value * 1.00001) for step, name, value in ROWS], weights="other")
    assert (found["verdict"], found["unequal"]) == ("within_tolerance", 10)


def test_other_weights_are_different_even_where_every_value_is_the_same(replayed: Replayed) -> None:
    found = replayed(weights="other")
    assert (found["verdict"], found["parted"]) == ("different", None)
    assert "the weights differ" in found["message"]


def test_a_replay_that_fails_differs_from_one_that_did_not(replayed: Replayed) -> None:
    found = replayed(fail=True)
    assert (found["verdict"], found["ended"]) == ("different", {"original": "completed", "replay": "diverged"})
    assert "values are the same, but it ended as diverged, not completed" in found["message"]


def test_a_receipt_says_everything_that_decided_the_numbers(house: House, user: TestClient, posted: str) -> None:
    ended(house, posted)
    found = user.get(f"/v1/jobs/{posted}/receipt").json()
    spec = user.get(f"/v1/jobs/{posted}").json()["spec"]
    assert list(found)[:4] == ["schema", "job", "parent", "state"]
    assert found["spec_sha256"] == canonical_sha256(spec)
    assert found["data"] == {"name": "iris", "sha256": "d" * 64, "file_sha256": None}
    assert found["seeds"] == {"training": 0, "split": 1}
    assert (found["weights_sha256"], found["metrics"]["count"]) == ("w", 10)
    ran = found["environment"]
    assert (ran["device"], ran["threads"], ran["numba"] is None) == ("a CPU", 2, False)
    assert found["attempts"][0]["environment_sha256"] == canonical_sha256(ran)
    assert [file["name"] for file in found["artifacts"]] == ["model.safetensors"]
    assert found.pop("sha256") == canonical_sha256(found)


def test_equal_streams_of_metrics_have_equal_digests_and_others_have_not(house: House, user: TestClient) -> None:
    digests = []
    for rows in (ROWS, ROWS, [*ROWS[:-1], (10, "loss", 0.1000001)]):
        job = user.post("/v1/jobs", json=iris()).json()["id"]
        ended(house, job, rows=rows)
        digests.append(user.get(f"/v1/jobs/{job}/receipt").json()["metrics"]["sha256"])
    assert digests[0] == digests[1] != digests[2]
