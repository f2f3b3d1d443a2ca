"""Problems: one shape for every error, no trace for users, a status for every exception."""

import logging
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.errors import STATUS, install, mistakes_of, path_of, status_of
from api.limits import RequestId
from services import errors
from services.errors import Invalid, Mistake, TrainyardError
from tests.api.stage import House

OURS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TrainyardError)]


def raising(error: Exception) -> TestClient:
    """A client of an application whose one route fails."""
    app = FastAPI()
    install(app)
    app.add_middleware(RequestId)

    @app.get("/fail")
    def fail() -> None:
        raise error

    return TestClient(app, raise_server_exceptions=False)


def shape(answer: Any) -> dict[str, Any]:
    """The body of a problem, checked for what every problem has."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) == {"type", "title", "status", "detail", "instance", "code", "hint", "request_id", "errors"}
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    return dict(body)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_exception_of_ours_has_a_status(kind: type[TrainyardError]) -> None:
    internal = {errors.TrainyardError, errors.DataError, errors.LeaseLost}
    assert (int(status_of(kind.__new__(kind))) == 500) == (kind in internal)


def test_the_table_names_no_status_twice_for_one_class() -> None:
    assert {int(status) for status in STATUS.values()} == {401, 403, 404, 409, 413, 422, 429, 503, 507}


def test_many_mistakes_come_in_one_answer() -> None:
    mistakes = [Mistake("network.layers[3].units", "x", "too few", "give more"), Mistake("name", "y", "too long")]
    body = shape(raising(Invalid(mistakes)).get("/fail"))
    assert body["detail"] == "There are 2 mistakes; see errors."
    assert body["errors"] == [
        {"path": "network.layers[3].units", "code": "x", "message": "too few", "hint": "give more"},
        {"path": "name", "code": "y", "message": "too long", "hint": None},
    ]


def test_what_nobody_foresaw_is_logged_with_an_id_and_shown_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "trainyard.api"):
        body = shape(raising(RuntimeError("the password is swordfish")).get("/fail"))
    assert body["code"] == "internal_error"
    assert "swordfish" not in str(body)
    assert body["request_id"] in caplog.text
    assert "swordfish" in caplog.text


def test_unknown_addresses_and_methods_are_problems(house: House, user: TestClient) -> None:
    assert shape(user.get("/v1/nothing"))["status"] == 404
    answer = user.put("/v1/jobs")
    assert shape(answer)["status"] == 405
    assert answer.headers["allow"] == "GET, POST"
    assert user.get("/v1/jobs/").status_code == 404


def test_a_body_of_another_type_is_415(user: TestClient) -> None:
    answer = user.post("/v1/jobs", content="<job/>", headers={"Content-Type": "application/xml"})
    assert shape(answer)["status"] == 415
    assert "application/yaml" in answer.headers["accept"]


def test_a_body_that_is_no_object_is_a_mistake(user: TestClient) -> None:
    for text in ("[]", "1", '"x"', "null"):
        body = shape(user.post("/v1/jobs", content=text, headers={"Content-Type": "application/json"}))
        assert body["errors"][0]["code"] == "not_an_object"


def test_odd_text_in_a_spec_comes_back_readable(user: TestClient) -> None:
    body = shape(user.post("/v1/jobs", json={"\u202e\n": "\x07"}))
    assert body["status"] == 422


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (("body", "network", "layers", 3, "units"), "network.layers[3].units"),
        (("query", "limit"), "query.limit"),
        (("body",), "body"),
        ((), "body"),
        (("body", 0, "x"), "[0].x"),
    ],
)
def test_paths_read_as_people_write_them(location: tuple[str | int, ...], path: str) -> None:
    assert path_of(location) == path
    assert mistakes_of([{"loc": location, "type": "t", "msg": "m"}])[0].path == path
