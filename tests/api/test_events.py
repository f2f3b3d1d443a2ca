"""Metrics, logs and the live stream: every event once, in order, however often the client comes back."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import sse
from services.jobs import Event, Progress, Reason
from services.lease import Lease
from tests.api.stage import House


def parse(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Server-sent events as dictionaries, comments left out."""
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            event[name] = json.loads(value) if name == "data" else value
        elif event:
            yield event
            event = {}


def stream(client: TestClient, job: str, query: str = "", **headers: str) -> list[dict[str, Any]]:
    """Read a stream to its end."""
    with client.stream("GET", f"/v1/jobs/{job}/events{query}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(parse(answer.iter_lines()))


def train(lease: Lease, steps: int = 30, pause: float = 0.0) -> None:
    """A worker that records a metric and a log line per step, then succeeds."""
    for step in range(1, steps + 1):
        metric = ("metric", {"step": step, "epoch": 1, "values": {"loss": 1 / step}})
        lease.record([metric, ("log", {"level": "info", "text": f"step {step}"})], Progress(step, steps))
        time.sleep(pause)
    lease.succeed(Reason.COMPLETED, {}, [])


@pytest.fixture
def finished(house: House, user: TestClient, submit: Callable[..., str]) -> str:
    """A job that told thirty steps."""
    id = submit()
    train(house.claim(id))
    return id


def test_a_finished_job_replays_everything_and_the_stream_ends(user: TestClient, finished: str) -> None:
    events = stream(user, finished)
    states = [event["data"]["data"]["state"] for event in events if event["event"] == "state"]
    numbers = [int(event["id"]) for event in events]
    assert states == ["queued", "running", "succeeded"]
    assert len(events) == 3 + 30 * 2
    assert numbers == sorted(set(numbers)) == [event["data"]["number"] for event in events]
    assert events[-1]["data"]["data"]["state"] == "succeeded"


def test_an_event_says_kind_attempt_time_and_data(user: TestClient, finished: str) -> None:
    metric = next(event for event in stream(user, finished) if event["event"] == "metric")["data"]
    assert metric["data"] == {"step": 1, "epoch": 1, "values": {"loss": 1.0}}
    assert (metric["job"], metric["attempt"], metric["kind"]) == (finished, 1, "metric")
    assert metric["at"].endswith("Z")


@pytest.mark.parametrize("how", ["header", "query"])
def test_last_event_id_replays_without_gap_or_duplicate(user: TestClient, finished: str, how: str) -> None:
    everything = [event["id"] for event in stream(user, finished)]
    for cut in (0, 1, 17, len(everything) - 2):
        seen = everything[cut]
        rest = (
            stream(user, finished, **{"Last-Event-ID": seen})
            if how == "header"
            else stream(user, finished, f"?after={seen}")
        )
        assert [event["id"] for event in rest] == everything[cut + 1 :]


def test_who_has_seen_the_last_event_is_not_kept_waiting(user: TestClient, finished: str) -> None:
    last = stream(user, finished)[-1]["id"]
    assert stream(user, finished, **{"Last-Event-ID": last}) == []


@pytest.mark.parametrize("bad", ["x", "-1", "9" * 19, "1.5"])
def test_a_last_event_id_of_somebody_else_is_a_mistake(user: TestClient, finished: str, bad: str) -> None:
    assert user.get(f"/v1/jobs/{finished}/events", headers={"Last-Event-ID": bad}).status_code == 422


def test_live_events_arrive_once_and_in_order_for_many_watchers(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    id = submit()
    lease = house.claim(id)
    found: dict[int, list[str]] = {}
    watchers = [
        threading.Thread(target=lambda n=n: found.update({n: [e["id"] for e in stream(user, id)]})) for n in range(5)
    ]
    for watcher in watchers:
        watcher.start()
        time.sleep(0.05)
    train(lease, steps=40, pause=0.01)
    for watcher in watchers:
        watcher.join(20)
    recorded = [str(event.number) for event in house.record.jobs.events(lease.job.tenant, id, 0, 10_000)]
    assert [found[n] for n in range(5)] == [recorded] * 5
    assert house.record.stream.watchers == 0
    assert house.record.stream.channels == {}


def test_a_foreign_stream_is_a_problem_and_not_a_stream(house: House, finished: str) -> None:
    answer = house.key("stranger", "read").get(f"/v1/jobs/{finished}/events")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_deleting_a_watched_job_ends_its_stream(house: House, user: TestClient, submit: Callable[..., str]) -> None:
    id = submit()
    reading = threading.Thread(target=stream, args=(user, id))
    reading.start()
    time.sleep(0.5)
    with house.record.jobs.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM jobs WHERE id = ?", (id,))
    reading.join(10)
    assert not reading.is_alive()


def test_an_idle_stream_is_kept_open_by_pings(
    monkeypatch: pytest.MonkeyPatch, house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    id = submit()
    threading.Timer(0.6, lambda: user.post(f"/v1/jobs/{id}/cancel")).start()
    with user.stream("GET", f"/v1/jobs/{id}/events") as answer:
        assert ": ping" in list(answer.iter_lines())


def test_a_watcher_that_falls_behind_reads_the_record_again(
    monkeypatch: pytest.MonkeyPatch, house: House, submit: Callable[..., str]
) -> None:
    monkeypatch.setattr(sse, "BACKLOG", 3)
    id = submit()
    lease = house.claim(id)
    tenant = lease.job.tenant

    async def slow_reader() -> list[int]:
        live = sse.Stream(house.record.jobs, seconds=0.01)
        poller, seen = asyncio.create_task(live.run()), []
        async for event in live.watch(tenant, id, 0):
            seen.append(event.number)
            if len(seen) == 2:
                await asyncio.to_thread(train, lease)
                await asyncio.sleep(0.1)
        poller.cancel()
        return seen

    numbers = [event.number for event in house.record.jobs.events(tenant, id)]
    seen = asyncio.run(slow_reader())
    assert seen == [event.number for event in house.record.jobs.events(tenant, id)]
    assert len(seen) > len(numbers) + 50


def test_the_poller_outlives_a_database_that_is_away(house: House, submit: Callable[..., str]) -> None:
    id = submit()
    tenant = house.record.jobs.get(house.secrets["user.tenant"], id).tenant

    async def watch_through_trouble() -> list[Event]:
        live = sse.Stream(house.record.jobs, seconds=0.01)
        poller = asyncio.create_task(live.run())
        events: list[Event] = []
        real = house.record.jobs.last_event_number
        async for event in live.watch(tenant, id, 0):
            events.append(event)
            if len(events) == 1:
                live.jobs = Broken(real)  # type: ignore[assignment]
                await asyncio.sleep(0.05)
                live.jobs = house.record.jobs
                await asyncio.to_thread(house.record.jobs.request_cancel, tenant, id)
        poller.cancel()
        return events

    assert [event.data["state"] for event in asyncio.run(watch_through_trouble())] == ["queued", "cancelled"]


class Broken:
    """A record that answers nothing."""

    def __init__(self, real: Callable[[], int]) -> None:
        self.real = real

    def last_event_number(self) -> int:
        """Always away."""
        raise OSError("away")


def test_metrics_come_by_step_and_can_be_chosen_and_thinned(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    id = submit()
    lease = house.claim(id)
    curve = [(step, "loss", math.sin(step)) for step in range(1000)]
    lease.succeed(Reason.COMPLETED, {}, [], [*curve, (5, "accuracy", 0.5), (6, "accuracy", math.nan)])
    url = f"/v1/jobs/{id}/metrics"
    everything = user.get(url).json()["items"]
    thin = [point["value"] for point in user.get(f"{url}?name=loss&max_points=50").json()["items"]]
    assert len(everything) == 1002
    assert len(thin) <= 50
    assert (min(thin), max(thin)) == (min(v for _, _, v in curve), max(v for _, _, v in curve))
    assert [(p["step"], p["value"]) for p in user.get(f"{url}?name=accuracy").json()["items"]] == [(5, 0.5), (6, None)]
    assert min(p["step"] for p in user.get(f"{url}?since=990").json()["items"]) == 990
    assert user.get(f"{url}?name=nothing").json()["items"] == []


def test_logs_page_by_number(user: TestClient, finished: str) -> None:
    first = user.get(f"/v1/jobs/{finished}/logs?limit=20").json()
    rest = user.get(f"/v1/jobs/{finished}/logs?limit=20&after={first['next_after']}").json()
    assert [line["text"] for line in first["items"] + rest["items"]] == [f"step {n}" for n in range(1, 31)]
    assert {line["level"] for line in first["items"]} == {"info"}
    assert rest["next_after"] is None
