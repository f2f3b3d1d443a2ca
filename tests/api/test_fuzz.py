"""Garbage, a thousand posts of it: no 5xx, and no status, type or shape that the OpenAPI document does not declare."""

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from services.settings import Settings
from tests.api.stage import BASE, House, iris, open_house
from tests.services.uploads_at_hand import Here, flowers

load_all_checks()
CONFORMANCE = CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
QUICK = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
OPERATIONS = """
    GET /v1/schema/job|GET /v1/catalog|GET /v1/jobs|GET /v1/jobs/{id}|POST /v1/jobs/{id}/cancel|POST /v1/jobs/{id}/stop
    POST /v1/jobs/{id}/retry|POST /v1/jobs/{id}/replay|GET /v1/jobs/{id}/receipt
    DELETE /v1/jobs/{id}|GET /v1/jobs/{id}/metrics|GET /v1/jobs/{id}/logs|GET /v1/jobs/{id}/events|GET /v1/models/{id}
    POST /v1/models/{id}/predict|GET /v1/models/{id}/export|GET /v1/models/{id}/files/{name}|GET /v1/datasets
    GET /v1/datasets/{name}|PUT /v1/datasets/{name}|DELETE /v1/datasets/{name}|GET /v1/datasets/{name}/report
    GET /v1/datasets/{name}/samples|GET /v1/schema/study|GET /v1/studies|GET /v1/studies/{id}
    POST /v1/studies/{id}/cancel|POST /v1/studies/{id}/extend|DELETE /v1/studies/{id}|GET /v1/studies/{id}/figure.svg
    POST /v1/studies/validate|POST /v1/studies|GET /v1/workers|GET /v1/queue|GET /livez|GET /readyz|GET /metrics
"""
EVERY = [tuple(name.split()) for line in OPERATIONS.split("\n") for name in line.split("|") if name.strip()]
POSTS = [("POST", "/v1/jobs"), ("POST", "/v1/jobs/validate")]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]

posted: Counter[str] = Counter()

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
words = st.sampled_from(
    ["dense", "conv2d", "softmax", "iris", "digits", "sgd", "full", "gpu", "2h", "-1", "", "classification"]
)
values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One application, one key that may do everything, on a record without quota."""
    for house in open_house(Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("fuzz"), max_queued_per_key=0)):
        # Garbage is looked at here: a child for each piece of it would take its second.
        house.record.desk.inspector = Here()  # type: ignore[assignment]
        yield house


@pytest.fixture(scope="module")
def client(house: House) -> Any:
    """A client of the admin."""
    return house.key("fuzz", "admin")


@pytest.fixture(scope="module")
def api(house: House) -> Any:
    """The OpenAPI document, loaded as a client would load it."""
    return schemathesis.openapi.from_dict(house.anonymous.get("/openapi.json").json())


def send(client: Any, case: Any) -> None:
    """One generated request; its answer must be what the document says."""
    request = case.as_transport_kwargs(base_url=BASE)
    request.pop("cookies", None)
    # What the fuzzer makes up for a key would be refused before anything else is looked at.
    request["headers"].pop("Authorization", None)
    request["content"] = request.pop("data", None)
    answer = client.request(
        follow_redirects=False, **{key: value for key, value in request.items() if value is not None}
    )
    posted[case.method] += 1
    case.validate_response(answer, checks=CONFORMANCE)


@pytest.fixture
def known(house: House, client: Any) -> str:
    """A job that is over, so that a stream of its events ends; and beside it an upload called known."""
    id = house.queue(house.secrets["fuzz.tenant"])
    client.post(f"/v1/jobs/{id}/cancel")
    client.put("/v1/datasets/known", content=flowers(30))
    return id


@pytest.mark.parametrize(("method", "path"), EVERY, ids=[" ".join(pair) for pair in EVERY])
def test_every_operation_keeps_its_word(client: Any, api: Any, known: str, method: str, path: str) -> None:
    for mode in MODES:
        for fixed in [{}, {"id": known}] if "{id}" in path else [{}, {"name": "known"}] if "{name}" in path else [{}]:
            wrong = api[path][method].as_strategy(generation_mode=mode, path_parameters=fixed or None)
            run = QUICK(given(wrong)(lambda case: send(client, case)))
            # An operation without parameters has no wrong request.
            with contextlib.suppress(Unsatisfiable):
                run()


@pytest.mark.parametrize(("method", "path"), POSTS)
@pytest.mark.parametrize("mode", MODES)
def test_posts_from_the_schema_keep_their_word(client: Any, api: Any, method: str, path: str, mode: Any) -> None:
    @settings(QUICK, max_examples=60)
    @given(api[path][method].as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        send(client, case)

    run()


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every node of a document."""
    yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(value, (*path, key))


@st.composite
def bent_specs(draw: st.DrawFn) -> Any:
    """A valid spec with one to three nodes replaced, removed or added."""
    spec = copy.deepcopy(iris())
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([place for place in places(spec) if place]))
        *way, last = path
        parent = spec
        for key in way:
            parent = parent[key]
        if draw(st.booleans()):
            parent[last] = draw(values)
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = parent.pop(last)
    return spec


def test_bent_specs_are_accepted_or_explained(client: Any) -> None:
    @settings(QUICK, max_examples=550)
    @given(bent_specs(), st.sampled_from(["/v1/jobs", "/v1/jobs/validate"]))
    def run(spec: Any, path: str) -> None:
        answer = client.post(path, json=spec)
        posted["POST"] += 1
        assert answer.status_code in {200, 202, 422}, answer.text
        assert answer.status_code != 422 or answer.json()["errors"]

    run()


def test_raw_bytes_are_explained(client: Any) -> None:
    kinds = st.sampled_from(["application/json", "application/yaml", "text/plain", "application/problem+json", "x", ""])
    snippets = st.sampled_from(
        [b"{", b"[", b"a: ", b"- ", b"\n", b"&a ", b"*a", b"!!python/object ", b'"\\ud800"', b"1e999"]
    )
    bodies = st.binary(max_size=60) | st.lists(snippets | st.binary(max_size=4), max_size=12).map(b"".join)

    @settings(QUICK, max_examples=250)
    @given(bodies, kinds)
    def run(body: bytes, kind: str) -> None:
        answer = client.post("/v1/jobs", content=body, headers={"Content-Type": kind})
        posted["POST"] += 1
        assert answer.status_code in {413, 415, 422}, answer.text

    run()


def test_a_thousand_posts_were_made() -> None:
    assert posted["POST"] >= 1000
