"""After a whole run, from the first key to a prediction, no secret stands in a log, an audit event or the database."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from api.client import Client
from api.serve import Stack
from api.wire import Refused
from tests.acceptance.test_posted_jobs import example, finished

pytestmark = pytest.mark.acceptance


@pytest.mark.timeout(300)
def test_no_secret_is_in_any_log_event_or_table(client: Client, stack: Stack) -> None:
    url, folder = stack.address.url, stack.children[-1].log.parent.parent
    made = client.create_key("visitor", ["read", "submit", "cancel"])
    with Client(url, made.secret) as visitor:
        job = finished(visitor, visitor.submit(example("iris_mlp", epochs=2) | {"baseline": False}).id)
        assert job.state == "succeeded"
        visitor.predict(job.id, [[5.1, 3.5, 1.4, 0.2]])
    wrong = made.secret[:-4] + "AAAA"
    with Client(url, wrong) as stranger, pytest.raises(Refused):
        stranger.get(job.id)
    with httpx2.Client(base_url=url) as browser:
        browser.get("/", params={"token": made.secret})
        browser.post("/session", json={"token": wrong}, headers={"Sec-Fetch-Site": "same-origin"})
    client.revoke_key(made.id)

    secrets = [made.secret.split("_", 2)[2], wrong.split("_", 2)[2], stack.address.key.split("_", 2)[2]]
    secrets += [(folder / "pepper").read_text().strip(), str(urlsplit(stack.address.broker).password)]
    events = "".join(event.model_dump_json() for event in client.audit())
    assert made.id in events
    with sqlite3.connect(folder / "trainyard.db") as database:
        tables = "\n".join(database.iterdump())
    logs = {file.name: file.read_text(errors="replace") for file in Path(folder / "logs").glob("*.log")}
    assert set(logs) >= {"api.log", "worker.log"}
    for secret in secrets:
        assert len(secret) > 20
        assert [name for name, text in {**logs, "events": events, "tables": tables}.items() if secret in text] == []
