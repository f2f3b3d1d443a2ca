"""Every route is closed by default: the matrix of routes against keys comes from the application itself."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount
from starlette.testclient import TestClient

from api.deps import LOCAL, PUBLIC, Needs, Unguarded, admit, calls_of, check_guards
from api.main import create_app
from services.settings import Settings
from tests.api.stage import House, open_house
from tests.services.uploads_at_hand import Here, flowers


class Ungenerated(AssertionError):
    """The matrix does not know what to put into an address: say it in FILLED."""


FILLED = {"id": "{id}", "name": "{name}"}
"""What stands for each part of an address: a job of the owner, an upload of the owner."""
LOOK_ONLY = ("HEAD", "OPTIONS")


def routes_of(app: FastAPI) -> list[tuple[str, str, str]]:
    """(method, path, scope) of every route that needs a key; Ungenerated when one cannot be called."""
    found = []
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute) and context.path not in PUBLIC | LOCAL:
            path = context.path or ""
            if unknown := set(re.findall(r"{(\w+)", path)) - set(FILLED):
                raise Ungenerated(f"{path}: {unknown}")
            needs = {call.scope for call in calls_of(context.dependant) if isinstance(call, Needs)}
            found += [(method, path, max(needs, key=ORDER.index)) for method in context.methods or ()]
    return sorted(found)


ORDER = ("read", "submit", "cancel", "admin")
ROUTES = routes_of(create_app(Settings(_env_file=None)))
matrix = pytest.mark.parametrize(("method", "path", "scope"), ROUTES, ids=[f"{m} {p}" for m, p, _ in ROUTES])
PATHS = sorted({path for _, path, _ in ROUTES})
MINE = "owners-flowers"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One application for the whole matrix."""
    for house in open_house(Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("guards"))):
        house.record.desk.inspector = Here()  # type: ignore[assignment]
        yield house


@pytest.fixture(scope="module")
def owner(house: House) -> TestClient:
    """Whose job and upload the others would like to see."""
    owner = house.key("owner", "read", "submit", "cancel")
    assert owner.put(f"/v1/datasets/{MINE}", content=flowers(30)).status_code == 201
    return owner


@pytest.fixture(scope="module")
def job(house: House, owner: TestClient) -> str:
    """A job of the owner."""
    return house.queue(house.secrets["owner.tenant"])


def call(client: TestClient, method: str, path: str, id: str, name: str = MINE) -> Any:
    """One request to a route of the matrix."""
    body: dict[str, Any] = {"json": {"inputs": [[1.0]]}} if method == "POST" else {}
    return client.request(method, path.format(id=id, name=name), **body)


addresses = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in count(1))
"""Every stranger comes from an address of its own: wrong keys are counted by address."""


def bad_clients(house: House) -> dict[str, TestClient]:
    """Clients that must not be served anything, by what is wrong with them."""
    tenant, unique = house.secrets["owner.tenant"], uuid4().hex
    house.key(f"misused-{unique}", "admin", tenant=tenant)
    secret = house.secrets[f"misused-{unique}"]
    _, id, rest = secret.split("_", 2)
    credentials = {
        "no key": None,
        "no secret": "Bearer",
        "another scheme": "Basic dTpw",
        "malformed": "Bearer nonsense",
        "not ASCII": "Bearer ty_é",
        "bad secret": f"Bearer ty_{id}_{rest[:-4]}AAAA",
        "unknown id": f"Bearer ty_{unique[:12]}_{rest}",
        "with more behind it": f"Bearer {secret}A",
        "in the wrong header": None,
    }
    found = {
        what: house.client(address=next(addresses), headers={"Authorization": text.encode()} if text else {})
        for what, text in credentials.items()
    }
    found["in the wrong header"].headers["X-API-Key"] = secret
    found["in the query"] = house.client(address=next(addresses))
    found["in the query"].params = {"token": secret, "key": secret}
    ended = datetime.now(UTC) - timedelta(seconds=1)
    for what, expires in (("revoked", None), ("expired", ended)):
        name = f"{what}-{unique}"
        found[what] = house.key(name, "admin", tenant=tenant, expires=expires, address=next(addresses))
    house.record.keys.revoke(house.secrets[f"revoked-{unique}.id"])
    return found


def test_the_matrix_covers_the_contract() -> None:
    paths = {(method, path) for method, path, _ in ROUTES}
    wanted = """GET /v1/schema/job|GET /v1/catalog|POST /v1/jobs/validate|POST /v1/jobs|GET /v1/jobs|GET /v1/jobs/{id}
        GET /v1/jobs/{id}/network.svg|GET /v1/jobs/{id}/diagnostics
        POST /v1/jobs/{id}/retry|POST /v1/jobs/{id}/replay|GET /v1/jobs/{id}/receipt
        POST /v1/jobs/{id}/cancel|POST /v1/jobs/{id}/stop|DELETE /v1/jobs/{id}|GET /v1/jobs/{id}/metrics
        GET /v1/jobs/{id}/events|GET /v1/jobs/{id}/logs|GET /v1/models/{id}|POST /v1/models/{id}/predict
        GET /v1/models/{id}/files/{name}
        GET /v1/models/{id}/export|GET /v1/datasets|GET /v1/datasets/{name}|GET /v1/workers|GET /v1/queue
        PUT /v1/datasets/{name}|DELETE /v1/datasets/{name}|GET /v1/datasets/{name}/report
        GET /v1/datasets/{name}/samples|GET /metrics|GET /v1/schema/study|POST /v1/studies/validate|POST /v1/studies
        GET /v1/studies|GET /v1/studies/{id}|POST /v1/studies/{id}/cancel|POST /v1/studies/{id}/extend
        DELETE /v1/studies/{id}|GET /v1/studies/{id}/figure.svg
        GET /v1/keys|POST /v1/keys|DELETE /v1/keys/{id}|GET /v1/audit"""
    assert {tuple(line.split()) for row in wanted.splitlines() for line in row.split("|")} == paths


@matrix
def test_without_a_key_nothing_is_served(house: House, job: str, method: str, path: str, scope: str) -> None:
    answer = call(house.anonymous, method, path, job)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthorized"


@matrix
def test_no_bad_key_is_served_anywhere(house: House, job: str, method: str, path: str, scope: str) -> None:
    for what, client in bad_clients(house).items():
        answer = call(client, method, path, job)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), what
        assert job not in answer.text.replace(str(answer.request.url), "").replace(f"/{job}", "")


@pytest.mark.parametrize("path", PATHS)
def test_looking_without_reading_shows_nothing_either(house: House, owner: TestClient, job: str, path: str) -> None:
    for method in LOOK_ONLY:
        for client in (house.anonymous, bad_clients(house)["bad secret"], owner):
            answer = call(client, method, path, job)
            assert answer.status_code in {401, 405}
            assert job not in answer.text.replace(f"/{job}", "")
            assert not {name for name in answer.headers if name.startswith("access-control")}


def test_a_route_that_the_matrix_cannot_call_fails_it() -> None:
    app = create_app(Settings(_env_file=None))
    app.add_api_route("/v1/things/{colour}", lambda caller: {}, dependencies=[Depends(Needs("read"))])
    with pytest.raises(Ungenerated, match="colour"):
        routes_of(app)


def test_a_new_route_is_in_the_matrix_by_itself() -> None:
    app = create_app(Settings(_env_file=None))
    app.add_api_route("/v1/things/{id}", lambda: {}, methods=["PATCH"], dependencies=[Depends(Needs("cancel"))])
    assert set(routes_of(app)) - set(ROUTES) == {("PATCH", "/v1/things/{id}", "cancel")}


def test_there_is_nothing_but_http(house: House, owner: TestClient) -> None:
    kinds = {type(context.original_route) for context in iter_route_contexts(house.app.routes)}
    assert kinds <= {APIRoute, Mount}, "a websocket would have to be guarded too"


@matrix
def test_without_the_scope_a_route_is_forbidden(house: House, job: str, method: str, path: str, scope: str) -> None:
    others = {"read", "submit", "cancel"} - {scope}
    name = f"without-{uuid4().hex}"
    answer = call(house.key(name, *others, tenant=house.secrets["owner.tenant"]), method, path, job)
    assert answer.status_code == 403
    assert scope in answer.json()["detail"]


@matrix
def test_other_tenants_cannot_tell_what_is_foreign_from_what_is_not_there(
    house: House, job: str, method: str, path: str, scope: str
) -> None:
    stranger = house.key(f"stranger-{uuid4().hex}", "admin")
    if "{" not in path:
        answer = call(stranger, method, path, job).text
        # Administrators of the server see what was done to what; contents and secrets they see neither.
        hidden = (house.secrets["owner"], *(() if scope == "admin" else (job, MINE)))
        assert not [one for one in hidden if one in answer]
        return
    nobody, nothing = str(uuid4()), "nobodys-flowers"
    foreign, missing = call(stranger, method, path, job), call(stranger, method, path, nobody, nothing)
    assert foreign.status_code == missing.status_code
    assert foreign.status_code == (422 if method == "PUT" else 404)
    assert foreign.json()["detail"].replace(job, nobody).replace(MINE, nothing) == missing.json()["detail"]
    assert MINE not in str(foreign.json()["hint"])


def test_after_all_that_the_job_is_untouched(owner: TestClient, job: str) -> None:
    assert owner.get(f"/v1/jobs/{job}").json()["state"] == "queued"
    assert owner.get(f"/v1/datasets/{MINE}").status_code == 200


def test_a_key_that_reads_may_not_cancel_and_the_owner_may(house: House, owner: TestClient, job: str) -> None:
    reader = house.key("reader", "read", tenant=house.secrets["owner.tenant"])
    assert reader.post(f"/v1/jobs/{job}/cancel").status_code == 403
    assert reader.delete(f"/v1/jobs/{job}").status_code == 403
    assert reader.post("/v1/jobs", json={}).status_code == 403


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/"])
def test_health_and_the_page_need_no_key(house: House, path: str) -> None:
    assert house.anonymous.get(path).status_code == 200


@pytest.mark.parametrize("path", sorted(LOCAL))
def test_the_documentation_is_open_to_this_machine_alone(house: House, owner: TestClient, path: str) -> None:
    elsewhere = TestClient(house.app, "http://127.0.0.1:8000", client=("10.0.0.9", 1))
    assert house.anonymous.get(path).status_code == 200
    assert elsewhere.get(path).status_code == 401
    assert elsewhere.get(path, headers=owner.headers).status_code == 200


def test_an_application_with_an_open_route_does_not_start() -> None:
    app = create_app(Settings(_env_file=None))
    app.add_api_route("/v1/secrets", lambda: {})
    with pytest.raises(Unguarded, match="/v1/secrets"):
        check_guards(app)


def test_a_guard_on_the_application_alone_is_not_enough() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, dependencies=[Depends(admit)])
    app.add_api_route("/v1/anything", lambda: {})
    with pytest.raises(Unguarded):
        check_guards(app)


def test_a_mounted_folder_that_is_not_listed_does_not_start(tmp_path: Path) -> None:
    app = create_app(Settings(_env_file=None))
    app.mount("/files", FastAPI(openapi_url=None))
    with pytest.raises(Unguarded, match="/files"):
        check_guards(app)
