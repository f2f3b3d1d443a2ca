"""The audit log: every change with who, what, whence and how it ended; refusals bounded; never a secret."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.audit import OVER_ALL, PER_CLIENT, READING
from services.errors import Unavailable
from tests.api.stage import House, iris
from tests.api.test_guards import ROUTES


@pytest.fixture
def admin(house: House) -> TestClient:
    """A client of an administrator."""
    return house.key("admin", "admin")


def events(admin: TestClient, **query: Any) -> list[dict[str, Any]]:
    """The newest events first, without those about the appearance of keys."""
    items = admin.get("/v1/audit", params={"limit": 200, **query}).json()["items"]
    return [event for event in items if event["action"] != "use_key"]


def test_a_change_is_noted_with_who_what_whence_and_how_it_ended(
    house: House, user: TestClient, admin: TestClient
) -> None:
    made = user.post("/v1/jobs", json=iris(), headers={"X-Request-ID": "r-1"})
    [event] = events(admin)
    assert event | {"number": 0, "at": ""} == {
        "number": 0,
        "at": "",
        "key": house.secrets["user.id"],
        "tenant": house.secrets["user.tenant"],
        "action": "submit_job",
        "object": made.json()["id"],
        "outcome": "done",
        "status": 202,
        "request_id": "r-1",
        "address": "127.0.0.1",
        "skipped": 0,
    }


def test_each_kind_of_change_names_its_object(house: House, user: TestClient, admin: TestClient) -> None:
    id = user.post("/v1/jobs", json=iris()).json()["id"]
    user.post(f"/v1/jobs/{id}/cancel")
    user.delete(f"/v1/jobs/{id}")
    key = admin.post("/v1/keys", json={"name": "k", "scopes": ["read"]}).json()["id"]
    admin.delete(f"/v1/keys/{key}")
    told = [(event["action"], event["object"]) for event in events(admin)][::-1]
    assert told == [
        ("submit_job", id), ("cancel_job", id), ("delete_job", id), ("create_key", key), ("revoke_key", key),
    ]  # fmt: skip


def test_what_fails_is_noted_as_failed(user: TestClient, admin: TestClient) -> None:
    user.post("/v1/jobs/nothing/cancel")
    [event] = events(admin, outcome="failed")
    assert (event["action"], event["object"], event["status"]) == ("cancel_job", "nothing", 404)


def test_looking_is_not_noted_and_a_key_that_comes_into_use_is_once(user: TestClient, admin: TestClient) -> None:
    for _ in range(5):
        user.get("/v1/jobs")
        user.post("/v1/jobs/validate", json=iris())
    items = admin.get("/v1/audit").json()["items"]
    assert [event["action"] for event in items if event["tenant"] != "local"].count("use_key") == 1
    assert events(admin) == []


def test_posts_that_only_read_are_routes_of_ours(house: House) -> None:
    posted = {operation["operationId"] for item in house.app.openapi()["paths"].values() for operation in item.values()}
    assert posted >= READING


def test_refusals_name_the_address_and_are_bounded(house: House, admin: TestClient) -> None:
    stranger = house.client(address="10.6.6.6")
    for _ in range(PER_CLIENT * 3):
        assert stranger.delete("/v1/jobs/1").status_code == 401
    found = events(admin, outcome="refused")
    assert len(found) == PER_CLIENT
    assert {(event["key"], event["address"], event["action"]) for event in found} == {(None, "10.6.6.6", "delete_job")}


def test_a_flood_from_everywhere_is_bounded_too(house: House, admin: TestClient) -> None:
    for number in range(OVER_ALL * 2):
        house.client(address=f"10.7.{number // 250}.{number % 250}").get("/v1/jobs")
    assert OVER_ALL <= len(house.record.audit.find(outcome="refused", limit=500).items) < OVER_ALL * 2


def test_a_foreign_host_and_a_missing_scope_are_refusals(house: House, admin: TestClient) -> None:
    house.anonymous.get("/v1/jobs", headers={"Host": "evil.example"})
    house.key("reader", "read").post("/v1/jobs", json={})
    scope, host = events(admin, outcome="refused")
    assert (host["status"], host["action"]) == (421, "GET /v1/jobs")
    assert (scope["status"], scope["action"], scope["key"]) == (403, "submit_job", house.secrets["reader.id"])


def test_no_event_holds_a_secret_or_a_control_character(house: House, admin: TestClient) -> None:
    house.key("user", "read")
    secret = house.secrets["user"]
    house.client(address="10.1.1.1", headers={"Authorization": f"Bearer {secret}x"}).get("/v1/jobs")
    house.client().get("/", params={"token": secret})
    house.anonymous.delete("/v1/jobs/%0a%1b[2J")
    text = admin.get("/v1/audit").text
    assert secret.rpartition("_")[2] not in text
    assert "\\u001b" in text
    assert "\x1b" not in text


def test_a_log_that_cannot_be_written_stops_nobody(
    house: House, user: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(house.record.audit, "note", full)
    assert user.post("/v1/jobs", json=iris()).status_code == 202


def test_the_matrix_is_audited_as_a_whole(house: House, admin: TestClient) -> None:
    changing = {(method, path) for method, path, _ in ROUTES if method != "GET"}
    assert len(changing) >= 10
    for number, (method, path) in enumerate(sorted(changing)):
        stranger = house.client(address=f"10.8.0.{number}")
        stranger.request(method, path.format(id="x", name="x"))
    assert len(events(admin, outcome="refused")) == len(changing)
