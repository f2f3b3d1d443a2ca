"""The client: typed answers, all mistakes at once, and streams that go on where they broke."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from api import wire
from api.client import TRIES, Client
from api.wire import Refused, Unreachable
from services.jobs import JobState
from tests.api.stage import BASE, House, iris
from tests.services.uploads_at_hand import Here, flowers

Answer = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture
def trainyard(house: House, user: TestClient) -> Iterator[Client]:
    """The client on a real application, without a network between them."""
    with Client(BASE, house.secrets["user"], transport=user._transport) as client:
        yield client


def scripted(*answers: Answer | Exception) -> tuple[Client, list[httpx2.Request]]:
    """A client whose server gives these answers one after the other, and what it was asked."""
    left, asked = list(answers), []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        step = left.pop(0)
        if isinstance(step, Exception):
            raise step
        return step(request)

    return Client("http://trainyard.test", "ty_key", transport=httpx2.MockTransport(answer)), asked


def stream(*events: tuple[int, str, dict[str, Any]], broken: bool = False) -> Answer:
    """A piece of an event stream; a broken one ends in the middle."""

    def pieces() -> Iterator[bytes]:
        for number, kind, data in events:
            event = {
                "number": number,
                "job": "j",
                "attempt": 1,
                "kind": kind,
                "data": data,
                "at": "2026-05-04T09:30:00Z",
            }
            yield f"id: {number}\nevent: {kind}\ndata: {json.dumps(event)}\n\n".encode()
        if broken:
            yield b"data: {"
            raise httpx2.ReadError("the line is dead")

    return lambda _: httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, content=pieces())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.0)


def test_a_job_is_submitted_as_data_or_as_yaml_text(trainyard: Client) -> None:
    for spec in (iris(), json.dumps(iris())):
        job = trainyard.submit(spec)
        assert (job.state, job.name, job.dataset) == (JobState.QUEUED, "iris-mlp", "iris")
    assert len(list(trainyard.list())) == 2


def test_the_same_idempotency_key_makes_one_job(trainyard: Client) -> None:
    ids = {trainyard.submit(iris(), idempotency_key="once").id for _ in range(3)}
    assert len(ids) == 1


def test_a_post_whose_answer_was_lost_is_sent_again_under_the_same_key(trainyard: Client) -> None:
    queued = trainyard.submit(iris()).model_dump_json().encode()
    lossy, asked = scripted(httpx2.ReadError("gone"), lambda _: httpx2.Response(202, content=queued))
    lossy.submit(iris())
    first, second = (request.headers["Idempotency-Key"] for request in asked)
    assert first == second


def test_a_post_goes_on_through_a_restart_of_the_server_it_knows(trainyard: Client) -> None:
    queued = trainyard.submit(iris()).model_dump_json().encode()
    away = httpx2.Response(503, headers={"Retry-After": "0"})
    client, asked = scripted(
        httpx2.ReadError("killed"),
        httpx2.ConnectError("refused"),
        lambda _: away,
        httpx2.RemoteProtocolError("killed again"),
        lambda _: httpx2.Response(202, content=queued),
    )
    client._met = True
    client.submit(iris())
    assert len(asked) == 5
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 1


def test_retry_after_is_kept_within_bounds() -> None:
    asked_for = ["", "0", "2", "3600", "Mon, 23 Nov 2026 10:00:00 GMT"]
    waited = [wire.waiting_time(httpx2.Response(503, headers={"Retry-After": text})) for text in asked_for]
    assert waited == [0.0, 0.0, 2.0, wire.LONGEST_PAUSE, 0.0]


def test_pauses_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    pauses = [wire.pause_of(failures) for failures in range(TRIES)]
    assert pauses[0] == 0.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == wire.LONGEST_PAUSE


def test_a_server_that_is_away_for_good_is_given_up_with_its_last_word() -> None:
    client, asked = scripted(*[lambda _: httpx2.Response(503, text="closed")] * 20)
    with pytest.raises(Refused) as found:
        client.get("j")
    assert (found.value.problem.status, len(asked)) == (503, TRIES)


def test_what_must_not_happen_twice_is_not_sent_twice() -> None:
    client, asked = scripted(*[httpx2.ReadError("gone")] * 2)
    with pytest.raises(Unreachable):
        client.cancel("j")
    assert len(asked) == 1


def test_a_refusal_carries_every_mistake(trainyard: Client) -> None:
    spec = iris(dataset={"name": "irsi"}, training={**iris()["training"], "epochs": 0})
    with pytest.raises(Refused) as found:
        trainyard.submit(spec)
    paths = {mistake.path for mistake in found.value.problem.errors}
    assert found.value.problem.status == 422
    assert {"dataset.name", "training.epochs"} <= paths


def test_lists_run_over_pages_and_stop_at_the_limit(trainyard: Client, submit: Callable[..., str]) -> None:
    ids = [submit() for _ in range(5)]
    assert [job.id for job in trainyard.list()] == ids[::-1]
    assert [job.id for job in trainyard.list(limit=3)] == ids[:1:-1]
    assert list(trainyard.list(state="failed")) == []


def test_a_job_is_cancelled_and_deleted(trainyard: Client) -> None:
    id = trainyard.submit(iris()).id
    assert trainyard.cancel(id).state is JobState.CANCELLED
    trainyard.delete(id)
    with pytest.raises(Refused) as found:
        trainyard.get(id)
    assert found.value.problem.status == 404


def test_metrics_and_the_model_of_a_finished_job_come_back(
    trainyard: Client, house: House, submit: Callable[..., str], tmp_path: Path
) -> None:
    id = submit()
    house.finish(id, model=b"the weights")
    assert [point.value for point in trainyard.metrics(id, ["loss"], since=9)] == pytest.approx([1 / 9, 1 / 10])
    assert trainyard.export(id, tmp_path / "iris.safetensors").read_bytes() == b"the weights"
    assert trainyard.download(id, "model.safetensors", tmp_path / "copy").read_bytes() == b"the weights"
    assert not list(tmp_path.glob("*.part"))


def test_a_data_set_of_ones_own_is_sent_read_and_removed(trainyard: Client, house: House, tmp_path: Path) -> None:
    house.record.desk.inspector = Here()  # type: ignore[assignment]
    file, told = tmp_path / "flowers.csv", list[tuple[int, int]]()
    file.write_bytes(flowers())
    upload = trainyard.upload(file, "flowers", progress=lambda here, of: told.append((here, of)))
    size = file.stat().st_size
    assert (upload.kind, upload.size, told[-1]) == ("table", size, (size, size))
    assert next(trainyard.datasets()).id == upload.id
    assert trainyard.report("flowers", target="ground", train=0.5).rows["train"] == 96
    assert len(trainyard.samples("flowers")) == 12
    trainyard.remove_dataset(upload.id or "")
    with pytest.raises(Refused):
        trainyard.dataset("flowers")


def test_events_end_with_the_job(trainyard: Client, submit: Callable[..., str]) -> None:
    id = submit()
    trainyard.cancel(id)
    assert [event.data.get("state") for event in trainyard.events(id)][-1] == "cancelled"


def test_a_broken_stream_is_taken_up_again_without_gap_or_repetition() -> None:
    client, asked = scripted(
        stream((1, "state", {"state": "running"}), (2, "metric", {"step": 1}), broken=True),
        httpx2.ConnectError("the server starts again"),
        stream((3, "metric", {"step": 2}), (4, "state", {"state": "succeeded"})),
    )
    assert [event.number for event in client.events("j")] == [1, 2, 3, 4]
    assert [request.headers["Last-Event-ID"] for request in asked] == ["0", "2", "2"]


def test_a_server_that_stays_away_is_given_up() -> None:
    client, asked = scripted(*[httpx2.ConnectError("refused")] * 20)
    with pytest.raises(Unreachable, match=r"trainyard\.test"):
        list(client.events("j"))
    assert len(asked) == TRIES


def test_a_forbidden_stream_is_not_asked_for_twice() -> None:
    client, asked = scripted(lambda _: httpx2.Response(403, text="no"))
    with pytest.raises(Refused):
        list(client.events("j"))
    assert len(asked) == 1


def test_nobody_at_the_address_is_unreachable() -> None:
    client, _ = scripted(httpx2.ConnectError("refused"))
    with pytest.raises(Unreachable, match="refused"):
        client.get("j")


def test_another_program_on_that_port_is_recognised() -> None:
    client, _ = scripted(lambda _: httpx2.Response(404, text="<html>not here</html>"))
    with pytest.raises(Refused) as found:
        client.get("j")
    assert "Is another program listening" in str(found.value.problem.hint)
