"""The picture of a job's network: seen by its owner alone, and unable to do anything but be seen."""

from collections.abc import Callable
from xml.etree import ElementTree

from starlette.testclient import TestClient

from api.client import Client
from tests.api.stage import BASE, House, iris


def test_the_owner_sees_the_network_drawn(user: TestClient) -> None:
    id = user.post("/v1/jobs", json=iris(name="Iris <b>")).json()["id"]
    answer = user.get(f"/v1/jobs/{id}/network.svg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    root = ElementTree.fromstring(answer.text)
    assert root.findtext("{*}title") == "Iris <b>"
    assert {"dense", "dense_1", "relu", "softmax", "27 weights"} <= {text.text for text in root.iterfind(".//{*}text")}


def test_the_picture_may_load_and_run_nothing(user: TestClient) -> None:
    id = user.post("/v1/jobs", json=iris()).json()["id"]
    headers = user.get(f"/v1/jobs/{id}/network.svg").headers
    policy = dict((part.strip() + " ").split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"].strip() == "'none'"
    assert policy["style-src"].strip().startswith("'sha256-")
    assert "sandbox" in policy
    assert "script-src" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"].startswith("private")


def test_foreign_unknown_and_undrawn_jobs_are_not_there(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    id = user.post("/v1/jobs", json=iris()).json()["id"]
    other = house.key("other", "read", tenant="elsewhere")
    assert other.get(f"/v1/jobs/{id}/network.svg").status_code == 404
    assert user.get("/v1/jobs/0/network.svg").status_code == 404
    assert user.get(f"/v1/jobs/{submit()}/network.svg").status_code == 404
    assert house.anonymous.get(f"/v1/jobs/{id}/network.svg").status_code == 401
    assert house.key("writer", "submit").get(f"/v1/jobs/{id}/network.svg").status_code == 403


def test_the_client_fetches_it(house: House, user: TestClient) -> None:
    with Client(BASE, house.secrets["user"], transport=user._transport) as client:
        assert client.network(client.submit(iris()).id).startswith("<svg")
