"""The catalog, the data sets, and the OpenAPI document that ties them to the routes."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from services.documents import from_yaml
from tests.api.stage import House, iris


@pytest.fixture
def document(house: House) -> dict[str, Any]:
    """The OpenAPI document."""
    return dict(house.anonymous.get("/openapi.json").json())


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(METHOD path, operation) of every operation."""
    return [(f"{m.upper()} {path}", op) for path, item in document["paths"].items() for m, op in item.items()]


def test_the_schema_accepts_a_resolved_spec_and_refuses_a_bad_one(user: TestClient) -> None:
    schema = user.get("/v1/schema/job").json()
    resolved = user.post("/v1/jobs/validate", json=iris()).json()["spec"]
    jsonschema.validate(resolved, schema)
    jsonschema.validate(iris(), schema)
    for example in Path("examples").glob("*.yaml"):
        jsonschema.validate(from_yaml(example.read_bytes()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(resolved | {"colour": "blue"}, schema)


def test_the_catalog_lists_and_documents_everything(user: TestClient) -> None:
    catalog = user.get("/v1/catalog").json()
    assert {"layers", "losses", "optimizers", "datasets", "activations", "metrics"} <= set(catalog)
    assert all(item["doc"] for item in catalog["layers"])


def test_data_sets_are_listed_and_shown_by_either_spelling(user: TestClient) -> None:
    names = [card["name"] for card in user.get("/v1/datasets").json()["items"]]
    assert {"digits", "iris", "wine", "breast_cancer", "diabetes", "mnist", "fashion_mnist"} <= set(names)
    cards = [user.get(f"/v1/datasets/{name}").json() for name in ("fashion_mnist", "fashion-mnist")]
    assert cards[0] == cards[1]
    assert (cards[0]["input_shape"], cards[0]["train"], cards[0]["test"]) == ([28, 28, 1], 60_000, 10_000)


def test_an_unknown_data_set_is_404_and_guesses(user: TestClient) -> None:
    answer = user.get("/v1/datasets/irys")
    assert answer.status_code == 404
    assert "iris" in answer.json()["hint"]


def test_operation_ids_are_stable_short_and_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"submit_job", "validate_job", "list_jobs", "show_job", "stream_events", "predict_samples"} <= set(ids)


def test_every_operation_declares_its_problems_and_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["description"], name
        if operation.get("security") == []:
            continue
        for status in ("401", "403", "503"):
            assert "application/problem+json" in operation["responses"][status]["content"], name
        assert ("404" in operation["responses"]) == ("{" in name), name


def test_whatever_writes_says_that_the_disk_may_be_full(document: dict[str, Any]) -> None:
    reading = {"/v1/jobs/validate", "/v1/studies/validate", "/v1/models/{id}/predict"}
    paths = document["paths"]
    writing = [(path, method) for path, found in paths.items() for method in {"post", "put", "delete"} & set(found)]
    assert writing
    silent = [one for one in writing if one[0] not in reading and "507" not in paths[one[0]][one[1]]["responses"]]
    assert silent == []


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            return [v for k, v in node.items() if k == "$ref"] + [r for v in node.values() for r in references(v)]
        return [r for v in node for r in references(v)] if isinstance(node, list) else []

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known
    assert "#/components/schemas/JobSpec" in references(document)


def test_the_documents_own_example_is_a_good_job(user: TestClient, document: dict[str, Any]) -> None:
    example = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert user.post("/v1/jobs/validate", json=example).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_loads_nothing_from_elsewhere(house: House, path: str) -> None:
    text = house.anonymous.get(path).text
    assert "https://" not in text.replace("https://fastapi.tiangolo.com", "")
    for file in [part.split('"')[0] for part in text.split('"/static-offline-docs/')[1:]]:
        assert house.anonymous.get(f"/static-offline-docs/{file}").status_code == 200
