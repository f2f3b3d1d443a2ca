"""What is taken in and what is not: memory with numbers and a way out, quotas, and the queue as users read it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.schemas import JobRow
from services.admission import advice
from services.amounts import amount
from services.errors import QuotaExceeded
from services.fleet import Device, Worker
from services.jobs import Artifact, Checkpoint, JobStore
from services.lease import Lease
from services.spec import check_job, parse_job
from services.sql.engine import migrate, open_engine
from services.sql.types import utc_now
from services.uploads.store import UploadStore
from services.uploads.values import Upload
from tests.api.stage import House, iris

GIB, MIB = 2**30, 2**20


def wide(batch: Any = 65_536) -> dict[str, Any]:
    """Digits through a network whose activations take gigabytes when the batch is whole."""
    layers = [
        {"type": "conv2d", "filters": 256, "kernel_size": 3, "activation": "relu"},
        {"type": "flatten"},
        {"type": "dense", "units": 10, "activation": "softmax"},
    ]
    training = iris()["training"] | {"batch_size": batch}
    return iris(dataset={"name": "mnist"}, network={"layers": layers}, training=training)


def employ(house: House, total: int, free: int | None = None, kind: str = "cpu") -> None:
    """One worker with so much memory."""
    house.record.fleet.register(Worker(f"{kind}@lab-1/7", "lab", 7, Device(kind, "a device", total, free)))


# Memory


@pytest.mark.parametrize("route", ["/v1/jobs", "/v1/jobs/validate"])
def test_a_job_that_fits_no_worker_is_refused_with_the_numbers_and_the_largest_batch_that_fits(
    house: House, user: TestClient, route: str
) -> None:
    employ(house, 4 * GIB)
    answer = user.post(route, json=wide())
    (error,) = answer.json()["errors"]
    assert answer.status_code == 422
    assert (error["path"], error["code"]) == ("training.batch_size", "out_of_memory")
    assert "GiB of memory (activations" in error["message"]
    assert "the largest CPU worker has 4.0 GiB" in error["message"]
    fits = int(error["hint"].rsplit(" ", 1)[1].rstrip("."))
    assert user.post(route, json=wide(fits)).status_code in {200, 202}
    assert user.post(route, json=wide(fits + 1)).status_code == 422


def test_where_no_batch_fits_the_refusal_says_what_else_to_do(house: House, user: TestClient) -> None:
    employ(house, 200 * MIB)
    (error,) = user.post("/v1/jobs", json=iris()).json()["errors"]
    assert error["path"] == "network"
    assert "Even batch_size 1 needs" in error["hint"]


@pytest.mark.parametrize("route", ["/v1/studies", "/v1/studies/validate"])
def test_a_study_with_a_trial_that_fits_no_worker_is_refused_with_the_trial(
    house: House, user: TestClient, route: str
) -> None:
    employ(house, 4 * GIB)
    study = {"type": "grid", "name": "sizes", "vary": {"training.batch_size": [32, 65_536]}, "job": wide(32)}
    (error,) = user.post(route, json=study).json()["errors"]
    assert (error["path"], error["code"]) == ("job.training.batch_size", "out_of_memory")
    assert "batch_size: 65536" in error["message"]
    assert user.get("/v1/studies").json()["items"] == []


def test_an_agent_is_refused_too(house: House, user: TestClient) -> None:
    employ(house, 200 * MIB)
    agent = {
        "name": "balance",
        "task": "reinforcement",
        "environment": {"name": "CartPole-v1"},
        "agent": {"type": "reinforce"},
        "network": {"layers": [{"type": "dense", "units": 2, "activation": "softmax"}]},
        "training": {"total_timesteps": 150_000, "optimizer": "adam"},
    }
    (error,) = user.post("/v1/jobs", json=agent).json()["errors"]
    assert error["code"] == "out_of_memory"


def test_a_job_is_accepted_while_no_worker_of_its_kind_is_known(house: House, user: TestClient) -> None:
    assert user.post("/v1/jobs", json=wide()).json()["queue"]["waiting_for"] == "a worker: none is running"
    employ(house, 4 * GIB)
    answer = user.post("/v1/jobs", json=wide() | {"resources": {"device": "gpu"}})
    assert answer.json()["queue"]["waiting_for"] == "a worker with a GPU: none is running"


def test_a_job_that_fits_later_is_accepted_and_says_what_it_waits_for(house: House, user: TestClient) -> None:
    employ(house, 64 * GIB, 1 * GIB)
    job = user.post("/v1/jobs", json=wide(8192)).json()
    need = amount(job["outline"]["memory"]["cpu"]["total"])
    assert job["queue"]["waiting_for"] == f"{need} free on cpu@lab; 1.0 GiB are free"


def test_the_parts_of_the_memory_add_up(user: TestClient) -> None:
    memory = user.post("/v1/jobs/validate", json=iris()).json()["outline"]["memory"]
    for parts in memory.values():
        assert parts.pop("total") == sum(parts.values())


def test_the_largest_batch_is_the_largest() -> None:
    spec = parse_job(wide("full"))
    there = 3 * GIB
    found = advice(spec, "cpu", there)
    assert found.batch_size is not None
    assert found.patch == {"training": {"batch_size": found.batch_size}}
    for batch, fits in ((found.batch_size, True), (found.batch_size + 1, False)):
        assert (check_job(parse_job(wide(batch))).memory["cpu"]["total"] <= there) is fits


@pytest.mark.parametrize(
    ("size", "text"), [(17, "17 bytes"), (340 * MIB, "340 MiB"), (12.3 * GIB, "12.3 GiB"), (2**70, "1,048,576.0 PiB")]
)
def test_bytes_are_written_in_the_largest_unit(size: float, text: str) -> None:
    assert amount(size) == text


# Quotas


def upload(number: int, size: int, tenant: str = "t") -> Upload:
    """The row of an upload."""
    sha = f"{number:064x}"
    return Upload(
        f"ds_{number:020x}", tenant, f"data-{number}", (), "table", sha, size, f"{number:036d}", {}, {}, utc_now()
    )


@pytest.fixture
def database(tmp_path: Path) -> Any:
    engine = open_engine(f"sqlite:///{tmp_path}/quota.db")
    migrate(engine)
    yield engine
    engine.dispose()


def test_what_is_stored_counts_uploads_models_and_shared_checkpoints_once(database: Engine) -> None:
    jobs, shelves = JobStore(database, max_stored_bytes=1000), UploadStore(database, max_stored_bytes=1000)
    shelves.add(upload(1, 400), [])
    jobs.submit("t", {}, {})
    lease = Lease.claim(database, "w", {"cpu"})
    assert lease is not None
    lease.checkpoint(Checkpoint(1, "t/j/a1/c1", "0" * 64, 200), [])
    lease.succeed("completed", {}, [Artifact("model", "t/j/a1/model", "0" * 64, 100)])
    jobs.submit("t", {}, {}, parent_id=lease.job.id, resume=True)
    shelves.expect("t", 300)
    with pytest.raises(
        QuotaExceeded, match="700 bytes of the 1,000 bytes that one key may, and this is 301 bytes more"
    ):
        shelves.expect("t", 301)
    shelves.add(upload(2, 300), [])
    with pytest.raises(QuotaExceeded, match="You have stored"):
        jobs.submit("t", {}, {})
    jobs.submit("somebody else", {}, {})
    shelves.remove("t", "data-2")
    jobs.submit("t", {}, {})


def test_uploads_that_race_never_store_more_than_the_quota(database: Engine) -> None:
    shelves, barrier = UploadStore(database, max_stored_bytes=1000), threading.Barrier(6)
    refused: list[Exception] = []

    def bring(number: int) -> None:
        barrier.wait()
        try:
            shelves.add(upload(number, 400), [])
        except QuotaExceeded as problem:
            refused.append(problem)

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 4
    assert len(shelves.find("t").items) == 2


def test_an_upload_beyond_the_quota_is_refused_before_it_is_received_and_leaves_nothing(
    house: House, user: TestClient
) -> None:
    house.record.desk.store.max_stored_bytes = 10
    answer = user.put("/v1/datasets/mine", content=b"a,b\n1,2\n3,4\n")
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert "and this is 12 bytes more" in answer.json()["detail"]
    assert not [path for path in house.record.artifacts.folder.rglob("*") if path.is_file()]


def test_a_job_beyond_the_quota_of_stored_bytes_is_refused(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    house.finish(submit(), b"x" * 100)
    house.record.jobs.max_stored_bytes = 100
    answer = user.post("/v1/jobs", json=iris())
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")


# The queue as users read it


def test_the_queue_shows_your_own_jobs_with_their_places(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    ids = [submit(name=name) for name in ("one", "two")]
    house.queue("somebody else")
    view = user.get("/v1/queue").json()
    assert view["depth"]["queued"] == 3
    assert [(job["id"], job["name"], job["position"]) for job in view["yours"]] == [
        (ids[0], "one", 1),
        (ids[1], "two", 3),
    ]
    assert {job["waiting_for"] for job in view["yours"]} == {"a worker: none is running"}


def test_a_list_shows_the_places_of_queued_jobs_alone(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    house.finish(submit(name="done"))
    submit(name="waiting")
    waiting, done = user.get("/v1/jobs").json()["items"]
    assert (waiting["queue"]["position"], done["queue"]) == (1, None)


def test_a_draining_worker_is_shown_as_such(house: House, user: TestClient) -> None:
    employ(house, GIB)
    house.record.fleet.drain("cpu@lab-1/7")
    assert [worker["draining"] for worker in user.get("/v1/workers").json()["items"]] == [True]


def test_a_row_in_the_terminal_says_where_the_job_stands(user: TestClient, submit: Callable[..., str]) -> None:
    from api.console import standing

    submit()
    row = JobRow.model_validate(user.get("/v1/jobs").json()["items"][0])
    assert standing(row) == "1, waiting for a worker: none is running"
    soon = row.queue.model_copy(update={"waiting_for": "a free worker", "eta_seconds": 200.0})  # type: ignore[union-attr]
    assert (
        standing(row.model_copy(update={"queue": soon})) == "1, waiting for a free worker, starts in about 3 min 20 s"
    )
