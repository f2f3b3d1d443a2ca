"""The API as it ends and comes back: killed in a storm of submits, or asked to end while it is busy."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api import serve
from api.child import wait_until
from services.jobs import JobState
from tests.chaos.kinds import KINDS, spec_of
from tests.chaos.registry import Trial
from tests.chaos.scenarios.storm import blow
from tests.chaos.yard import Yard, open_yard

PATIENCE = 60.0


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """An API without workers, started again whenever it ends."""
    with open_yard(tmp_path_factory.mktemp("restart"), workers=0) as found:
        yield found


def test_no_acknowledged_job_is_lost_or_doubled_when_the_api_is_killed(yard: Yard, tmp_path: Path) -> None:
    findings = blow(yard, Trial(7, "sqlite", {"submits": 120, "kills": 2}, tmp_path, lambda *_: None))
    assert findings.violations == {}
    assert findings.figures["submits acknowledged"] == 120
    assert findings.figures["restarts"] == 2


def half_a_submit(yard: Yard) -> tuple[socket.socket, bytes]:
    """An open connection on which half a request has been sent, and the other half."""
    place, body = urlsplit(yard.url), json.dumps(spec_of(KINDS[0], 1)).encode()
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {yard.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    line = socket.create_connection((place.hostname or "", place.port or 0), timeout=PATIENCE)
    line.sendall(head.encode() + body[:100])
    return line, body[100:]


def test_an_api_that_is_asked_to_end_answers_what_has_begun_and_streams_go_on_with_the_next(yard: Yard) -> None:
    id = yard.submit(KINDS[0])
    seen: list[int] = []
    watching = threading.Event()

    def watch() -> None:
        for event in yard.client.events(id):
            seen.append(event.number)
            watching.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert watching.wait(PATIENCE)
    line, rest = half_a_submit(yard)
    api, before = yard.parts["api"], yard.parts["api"].pid
    api.terminate()
    with line:
        line.sendall(rest)
        assert line.recv(12) == b"HTTP/1.1 202"
    assert wait_until(lambda: api.pid != before and serve.is_ready(yard.url), PATIENCE)
    assert yard.client.cancel(id).state is JobState.CANCELLED
    watcher.join(PATIENCE)
    assert seen == [event.number for event in yard.jobs.events(yard.jobs.get("local", id).tenant, id)]
    assert yard.keeper.surprises == []
