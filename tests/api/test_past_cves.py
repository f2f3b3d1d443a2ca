"""What has befallen others, tried on us: one test an incident, named after it."""

import ast
import gzip
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

import api.main
from api.deps import Unguarded
from api.main import create_app
from services.settings import Settings
from tests.api.stage import House, iris
from tests.api.test_guards import ROUTES

ROOMS = ("kernels", "services", "workers", "api")
TOP_SECRET = "this must never be served"
TRICKS = [
    "../../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "..%252f..%252fsecret.txt",
    "..\\..\\secret.txt", "..%5c..%5csecret.txt", "..;/..;/secret.txt", "....//....//secret.txt",
    "/secret.txt", "//secret.txt", "%00secret.txt", "model.safetensors/../../secret.txt", "file:///secret.txt",
    "model.safetensors%00.txt", "..%c0%af..%c0%afsecret.txt", ".", "..", "~/secret.txt", "?../../secret.txt",
    "#/../../secret.txt", "link",
]  # fmt: skip
"""`..`, `\\`, decoding twice, `;`, absolute paths, URLs, overlong UTF-8, links: each was a bypass of the fix before."""


@pytest.fixture
def finished(house: House, user: TestClient, submit: Any) -> str:
    """A finished job of the user, with a secret beside the artifacts and a link to it among them."""
    id = submit()
    house.finish(id)
    folder = house.record.artifacts.folder
    for place in (folder, folder.parent):
        (place / "secret.txt").write_text(TOP_SECRET)
    attempt = house.record.artifacts.attempt_folder(house.secrets["user.tenant"], id, 1)
    (attempt / "link").symlink_to(folder / "secret.txt")
    return id


def properties(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every property of a JSON Schema with its own schema, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items() if isinstance(schema.get("properties"), dict) else ()
        for value in schema.values():
            yield from properties(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from properties(value)


def test_shadowray_cve_2023_48022_nobody_without_a_key_submits_and_no_job_is_code(
    house: House, user: TestClient
) -> None:
    assert house.anonymous.post("/v1/jobs", json=iris()).status_code == 401
    for name in ("entrypoint", "command", "runtime_env", "pip", "env", "script", "image", "working_dir"):
        answer = user.post("/v1/jobs", json=iris(**{name: "touch /tmp/x"}))
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == name


@pytest.mark.parametrize("number", ["cve_2026_2652", "cve_2026_0545"])
def test_mlflow_a_router_that_comes_later_is_guarded_or_nothing_starts(
    number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = APIRouter(prefix=f"/ajax-api/{number}")
    router.add_api_route("/jobs", lambda: {})
    monkeypatch.setattr(api.main, "ROUTERS", (*api.main.ROUTERS, router))
    with pytest.raises(Unguarded, match=number):
        create_app(Settings(_env_file=None))


def test_mlflow_cve_2026_2635_there_is_no_default_password(house: House, tmp_path: Path) -> None:
    for login in ("YWRtaW46YWRtaW4=", "YWRtaW46cGFzc3dvcmQ=", "YWRtaW46cGFzc3dvcmQxMjM0"):
        assert house.client(headers={"Authorization": f"Basic {login}"}).get("/v1/jobs").status_code == 401
    made = set()
    for name in "ab":
        with TestClient(create_app(Settings(_env_file=None, data_dir=tmp_path / name)), "http://localhost"):
            made.add((tmp_path / name / "admin_key").read_text())
    assert len(made) == 2


@pytest.mark.parametrize("trick", TRICKS)
def test_mlflow_cve_2023_1177_2023_2780_2023_6977_2024_1560_2024_1593_no_path_leads_anywhere(
    house: House, user: TestClient, finished: str, trick: str
) -> None:
    for path in (
        f"/v1/models/{finished}/files/{trick}", f"/v1/models/{trick}", f"/v1/models/{finished}/export?format={trick}",
        f"/v1/jobs/{trick}", f"/v1/datasets/{trick}", f"/v1/datasets/{trick}/samples", f"/static/{trick}",
    ):  # fmt: skip
        answer = user.get(path, follow_redirects=False)
        assert TOP_SECRET not in answer.text
        # A client takes `..` out of an address itself; what is left is the model, whose bytes are no model here.
        assert answer.status_code < 500 or trick in {".", ".."}
    assert user.put(f"/v1/datasets/{trick}", content=b"a,b\n1,2\n").status_code != 201


@pytest.mark.parametrize(
    "source",
    [
        {"url": "http://127.0.0.1/x.csv"}, {"name": "http://127.0.0.1/x.csv"}, {"upload": "file:///etc/passwd"},
        {"name": "jdbc:h2:mem:x;INIT=RUNSCRIPT FROM 'http://127.0.0.1/x.sql'"}, {"path": "/etc/passwd"},
        {"name": "../../etc/passwd"}, {"upload": "../../etc/passwd"}, {"sql": "select 1"}, {"name": "s3://b/k"},
        {"upload": "ds_../../../x"}, {"model_file": "/tmp/evil.bin"},
    ],
    ids=str,
)  # fmt: skip
def test_h2o_cve_2026_3960_cve_2023_6016_cve_2023_6038_nothing_is_imported_from_an_address(
    user: TestClient, source: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the API reached out")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    answer = user.post("/v1/jobs", json=iris(dataset=source))
    assert answer.status_code == 422
    assert "root:" not in answer.text


def test_mlflow_cve_2026_2393_ray_cve_2023_48023_no_field_takes_an_address(house: House) -> None:
    document = house.app.openapi()
    taken = [
        item["requestBody"] for path in document["paths"].values() for item in path.values() if "requestBody" in item
    ]
    assert len(taken) >= 4
    inputs = {
        name: schema
        for name, schema in document["components"]["schemas"].items()
        if re.match("JobSpec|KeyIn|Pre", name)
    }
    named = [(name, schema) for name, schema in properties(inputs)]
    assert len(named) > 50
    assert not [name for name, _ in named if re.search(r"url|uri|href|endpoint|webhook|callback|host|proxy|file", name)]
    assert not [name for name, schema in named if isinstance(schema, dict) and schema.get("format") in {"uri", "path"}]
    parameters = [
        p["name"] for path in document["paths"].values() for item in path.values() for p in item.get("parameters", [])
    ]
    assert not [name for name in parameters if re.search(r"url|uri|href|path|callback", name)]


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "Lambda", "module": "builtins", "config": {"function": "__import__('os').system('touch x')"}},
        {"type": "lambda", "function": "lambda x: __import__('os').system('touch x')"},
        {"type": "keras.utils.get_file"}, {"type": "os.system"}, {"type": "antigravity"}, {"type": "__class__"},
        {"type": "dense", "units": 3, "activation": "builtins.eval"},
        {"type": "dense", "units": 3, "module": "os", "registered_name": "system"},
        {"type": "dense", "units": {"class_name": "__numpy__", "config": "x"}},
    ],
    ids=str,
)  # fmt: skip
def test_keras_cve_2025_1550_cve_2025_8747_cve_2025_9906_a_spec_names_no_class(
    user: TestClient, layer: dict[str, Any]
) -> None:
    import sys

    answer = user.post("/v1/jobs", json=iris(network={"layers": [layer]}))
    assert answer.status_code == 422
    assert "antigravity" not in sys.modules


def test_mlflow_cve_2025_15379_texts_of_a_job_reach_no_shell(house: House, user: TestClient, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"x; touch {mark} #$(touch {mark})`touch {mark}`"
    id = house.queue(house.secrets["user.tenant"], name=text, labels=[text])
    house.finish(id)
    for path in (f"/v1/jobs/{id}", f"/v1/jobs/{id}/network.svg", f"/v1/models/{id}/export", "/metrics"):
        user.get(path)
    assert not mark.exists()
    for file in (file for room in ROOMS for file in Path(room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            shell = isinstance(node, ast.keyword) and node.arg == "shell"
            assert not (shell and not (isinstance(node.value, ast.Constant) and node.value.value is False)), file


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in ROUTES])
def test_ray_cve_2025_62593_a_name_that_was_rebound_to_us_is_refused(
    house: House, user: TestClient, method: str, path: str
) -> None:
    address = path.format(id="x", name="x")
    for host in ("rebound.example", "127.0.0.1.rebound.example", "localhost:8000@rebound.example"):
        agent = {"Host": host, "User-Agent": "curl/8", "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        answer = user.request(method, address, headers=agent)
        assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_cve_2024_47874_cve_2025_54121_pysec_2026_249_no_form_is_ever_parsed(user: TestClient, kind: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"a" * 50_000
    for method, path in (("POST", "/v1/jobs"), ("PUT", "/v1/datasets/x"), ("POST", "/v1/keys"), ("POST", "/session")):
        answer = user.request(method, path, content=body, headers={"Content-Type": kind})
        assert answer.status_code in {403, 415}
    for file in Path("api").rglob("*.py"):
        names = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(ast.parse(file.read_text()))}
        assert names.isdisjoint({"Form", "UploadFile", "form", "FormParser", "MultiPartParser"}), file


def test_decompression_bombs_a_packed_body_is_not_unpacked(user: TestClient) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        kind = {"Content-Type": "application/json", "Content-Encoding": encoding}
        assert user.post("/v1/jobs", content=bomb, headers=kind).status_code in {415, 422}


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch x']", "!!python/object/new:type {}", "a: !!python/name:os.system",
        "a: &a [1]\nb: *a", "!<tag:yaml.org,2002:python/module:os> ''",
    ],
)  # fmt: skip
def test_pyyaml_cve_2017_18342_cve_2020_14343_a_tag_builds_nothing(user: TestClient, text: str) -> None:
    answer = user.post("/v1/jobs", content=text, headers={"Content-Type": "application/yaml"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "yaml_invalid")


def test_celery_cve_2021_23727_a_forged_message_is_data() -> None:
    from workers.app import SETTINGS

    assert SETTINGS["accept_content"] == ["json"]
    assert SETTINGS["result_backend"] is None
    assert {SETTINGS[f"{kind}_serializer"] for kind in ("task", "result", "event")} == {"json"}
    assert SETTINGS["worker_enable_remote_control"] is False


def test_clearml_cve_2024_24590_mlflow_cve_2024_37052_a_pickle_in_a_models_place_is_bytes(
    house: House, user: TestClient, submit: Any, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    # What `pickle.dumps` makes of an object whose __reduce__ is (os.system, ("touch mark",)).
    attack = b"cposix\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    id = submit()
    house.finish(id, model=attack)
    answers = [
        user.get(f"/v1/models/{id}"),
        user.post(f"/v1/models/{id}/predict", json={"inputs": [[1, 2, 3, 4]]}),
        user.get(f"/v1/models/{id}/export"),
    ]
    assert not mark.exists()
    assert answers[-1].content == attack, "to be taken away it is bytes, with their SHA-256"
    assert all(answer.status_code >= 400 for answer in answers[:2])
    assert json.loads(answers[0].text)["request_id"]
    assert "Traceback" not in answers[0].text + answers[1].text
