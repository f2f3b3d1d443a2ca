"""Every route is closed by default: the matrix of routes against keys comes from the application itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

from api.deps import LOCAL, PUBLIC, Needs, Unguarded, admit, calls_of, check_guards
from api.main import create_app
from services.settings import Settings
from tests.api.stage import House, open_house


def routes_of(app: FastAPI) -> list[tuple[str, str, str]]:
    """(method, path, scope) of every route that needs a key."""
    found = []
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute) and context.path not in PUBLIC | LOCAL:
            needs = {call.scope for call in calls_of(context.dependant) if isinstance(call, Needs)}
            found += [(method, context.path or "", max(needs)) for method in context.methods or ()]
    return sorted(found)


ROUTES = routes_of(create_app(Settings(_env_file=None)))
matrix = pytest.mark.parametrize(("method", "path", "scope"), ROUTES, ids=[f"{m} {p}" for m, p, _ in ROUTES])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One application for the whole matrix."""
    yield from open_house(Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("guards")))


@pytest.fixture(scope="module")
def owner(house: House) -> TestClient:
    """Whose job the others would like to see."""
    return house.key("owner", "read", "submit", "cancel")


@pytest.fixture(scope="module")
def job(house: House, owner: TestClient) -> str:
    """A job of the owner."""
    return house.queue(house.secrets["owner.tenant"])


def call(client: TestClient, method: str, path: str, id: str) -> Any:
    """One request to a route of the matrix."""
    body = {"json": {"inputs": [[1.0]]}} if method == "POST" else {}
    return client.request(method, path.format(id=id, name="irys"), **body)


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
        DELETE /v1/studies/{id}|GET /v1/studies/{id}/figure.svg"""
    assert {tuple(line.split()) for row in wanted.splitlines() for line in row.split("|")} == paths


@matrix
def test_without_a_key_nothing_is_served(house: House, job: str, method: str, path: str, scope: str) -> None:
    answer = call(house.anonymous, method, path, job)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthorized"


@matrix
def test_with_a_wrong_key_nothing_is_served(house: House, job: str, method: str, path: str, scope: str) -> None:
    wrong = house.secrets["owner"][:-4] + "AAAA"
    for credentials in (f"Bearer {wrong}", "Bearer nonsense", "Basic dTpw", "Bearer ty_é", "Bearer"):
        headers = {"Authorization": credentials.encode("utf-8")}
        assert call(house.client(headers=headers), method, path, job).status_code == 401


@matrix
def test_with_a_revoked_key_nothing_is_served(house: House, job: str, method: str, path: str, scope: str) -> None:
    name = f"revoked-{uuid4().hex}"
    client = house.key(name, "admin", tenant=house.secrets["owner.tenant"])
    house.record.keys.revoke(house.secrets[f"{name}.id"])
    assert call(client, method, path, job).status_code == 401


@matrix
def test_without_the_scope_a_route_is_forbidden(house: House, job: str, method: str, path: str, scope: str) -> None:
    others = {"read", "submit", "cancel"} - {scope}
    name = f"without-{uuid4().hex}"
    answer = call(house.key(name, *others, tenant=house.secrets["owner.tenant"]), method, path, job)
    assert answer.status_code == 403
    assert scope in answer.json()["detail"]


@matrix
def test_other_tenants_cannot_tell_a_foreign_job_from_none(
    house: House, job: str, method: str, path: str, scope: str
) -> None:
    stranger = house.key(f"stranger-{uuid4().hex}", "admin")
    if "{id}" not in path:
        assert job not in call(stranger, method, path, job).text
        return
    nobody = str(uuid4())
    foreign, missing = (call(stranger, method, path, id) for id in (job, nobody))
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json()["detail"].replace(job, nobody) == missing.json()["detail"]


def test_after_all_that_the_job_is_untouched(owner: TestClient, job: str) -> None:
    assert owner.get(f"/v1/jobs/{job}").json()["state"] == "queued"


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
