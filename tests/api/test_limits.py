"""What stands before every route: ids, hosts, safe headers, bounded bodies."""

import json

import pytest
from starlette.testclient import TestClient

from api.limits import DEPTH, depth
from api.main import create_app
from services.settings import Settings
from tests.api.stage import House, client_of, iris


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("", 0),
        ("1", 0),
        ("[]", 1),
        ('{"a": [1, {"b": []}]}', 4),
        ('"[[[["', 0),
        ('["\\"[[[[", "]"]', 1),
        ('["\\\\", [1]]', 2),
        ('"[[[[ never ends', 0),
        ("[" * 50_000, 50_000),
        ("]" * 10 + "[", 0),
        ('"\\' * 30_000, 0),
    ],
)
def test_depth_is_counted_without_parsing(text: str, deep: int) -> None:
    assert depth(text.encode()) == max(deep, 0)


def test_a_body_that_nests_too_deeply_is_a_mistake_and_one_at_the_limit_is_read(user: TestClient) -> None:
    for levels, code in ((DEPTH, "invalid"), (DEPTH + 1, "too_deep"), (90_000 // 2, "too_deep")):
        answer = user.post(
            "/v1/jobs", content="[" * levels + "]" * levels, headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_large_body_is_refused_by_its_declared_length(user: TestClient) -> None:
    answer = user.post("/v1/jobs", content=b" " * 100_001)
    assert answer.status_code == 413
    assert "100,000" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_large_body_without_a_length_is_refused_while_it_streams(user: TestClient) -> None:
    answer = user.post(
        "/v1/jobs", content=(b" " * 10_000 for _ in range(11)), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_a_body_just_within_the_limit_is_read(user: TestClient) -> None:
    text = json.dumps(iris())
    padded = text + " " * (100_000 - len(text))
    assert (
        user.post("/v1/jobs/validate", content=padded, headers={"Content-Type": "application/json"}).status_code == 200
    )


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "", "[::2]"])
def test_foreign_hosts_are_refused(house: House, host: str) -> None:
    answer = house.anonymous.get("/livez", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_loopback_hosts_are_served(house: House, host: str) -> None:
    assert house.anonymous.get("/livez", headers={"Host": host}).status_code == 200


def test_a_proxy_may_offer_the_service_under_names_of_its_own(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"allowed_hosts": "lab.example.org, Yard.example.org"}))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for host in ("lab.example.org", "yard.example.org:443", "127.0.0.1"):
            assert client.get("/livez", headers={"Host": host}).status_code == 200
        assert client.get("/livez", headers={"Host": "example.org"}).status_code == 421


def test_a_request_id_comes_back_and_a_bad_one_is_replaced(house: House) -> None:
    kept = house.anonymous.get("/v1/jobs", headers={"X-Request-ID": "abc-1.2_3"})
    assert kept.headers["x-request-id"] == kept.json()["request_id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, "<script>"):
        assert house.anonymous.get("/livez", headers={"X-Request-ID": bad}).headers["x-request-id"] != bad


def test_every_answer_has_safe_headers_and_none_opens_other_origins(house: House) -> None:
    for path in ("/", "/livez", "/nothing", "/v1/jobs", "/static/app.js"):
        headers = house.anonymous.get(path, headers={"Origin": "https://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers


def test_a_client_on_another_machine_needs_the_same_key(house: House) -> None:
    assert client_of(house.app).get("/v1/jobs").status_code == 401
