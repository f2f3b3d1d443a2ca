"""Models over HTTP: a network trained here, asked and taken away; and what is said while there is none."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load
from starlette.testclient import TestClient

from services.spec import parse_job
from services.training_job import run
from tests.api.stage import House, iris

SETOSA, VIRGINICA = [5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model file of a network that has learned to tell irises apart."""
    training = iris()["training"] | {"epochs": 60, "optimizer": {"type": "adam", "learning_rate": 0.02}}
    spec = parse_job(iris(training=training, baseline=False)).model_dump(mode="json")
    folder = tmp_path_factory.mktemp("model")
    list(run(spec, folder, None, "cpu", 1, folder, lambda: False))
    return Path(folder / "model.safetensors").read_bytes()


@pytest.fixture
def trained(house: House, submit: Callable[..., str], weights: bytes) -> str:
    """A finished job with that model."""
    id = submit()
    house.finish(id, weights)
    return id


def test_a_model_says_what_it_is_and_what_it_takes(user: TestClient, trained: str, weights: bytes) -> None:
    model = user.get(f"/v1/models/{trained}").json()
    assert model["id"] == model["job"] == trained
    assert model["card"]["classes"] == ["setosa", "versicolor", "virginica"]
    assert model["request_schema"]["properties"]["inputs"]["items"]["maxItems"] == 4
    assert model["artifact"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert model["result"] == {"test": {"accuracy": 0.97}}


def test_a_model_answers_for_samples_in_the_units_of_the_data_set(user: TestClient, trained: str) -> None:
    answer = user.post(f"/v1/models/{trained}/predict", json={"inputs": [SETOSA, VIRGINICA]}).json()
    assert [said["class"] for said in answer["predictions"]] == ["setosa", "virginica"]
    for said in answer["predictions"]:
        assert sum(item["probability"] for item in said["top"]) == pytest.approx(1, abs=1e-5)


def test_predictions_are_what_the_exported_weights_compute(user: TestClient, trained: str) -> None:
    said = user.post(f"/v1/models/{trained}/predict", json={"inputs": [SETOSA]}).json()["predictions"][0]
    w = load(user.get(f"/v1/models/{trained}/export").content)
    kernels, biases = ([w[name] for name in sorted(w) if w[name].ndim == n] for n in (2, 1))
    hidden = np.maximum(np.float32(SETOSA) @ kernels[0] + biases[0], 0)
    scores = np.exp(hidden @ kernels[1] + biases[1])
    assert said["probability"] == pytest.approx(float(scores.max() / scores.sum()), abs=1e-5)


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ([[1, 2, 3]], "inputs[0]"),
        ([SETOSA, ["a", "b", "c", "d"]], "inputs[1]"),
        ([SETOSA, [1, 2, [3], 4]], "inputs[1]"),
        ([[1e300, 0, 0, 0]], "inputs[0]"),
        ([None], "inputs[0]"),
        ([[SETOSA]], "inputs[0]"),
        ([SETOSA, [[5.1, 3.5], [1.4, 0.2]]], "inputs[1]"),
        ([], "inputs"),
        ("text", "inputs"),
    ],
)
def test_samples_that_do_not_fit_are_named(user: TestClient, trained: str, inputs: Any, path: str) -> None:
    answer = user.post(f"/v1/models/{trained}/predict", json={"inputs": inputs})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == path


def test_unknown_keys_beside_the_samples_are_refused(user: TestClient, trained: str) -> None:
    answer = user.post(f"/v1/models/{trained}/predict", json={"inputs": [SETOSA], "threshold": 1})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "threshold")


def test_the_exported_file_is_the_artifact_byte_for_byte(user: TestClient, trained: str, weights: bytes) -> None:
    answer = user.get(f"/v1/models/{trained}/export?format=safetensors")
    sha = hashlib.sha256(weights)
    assert answer.content == weights
    assert answer.headers["etag"] == f'"{sha.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(sha.digest()).decode()}:"
    assert answer.headers["content-disposition"] == f'attachment; filename="{trained}.safetensors"'
    assert answer.headers["content-length"] == str(len(weights))


def test_a_file_that_the_client_has_is_not_sent_again(user: TestClient, trained: str, weights: bytes) -> None:
    etag = f'"{hashlib.sha256(weights).hexdigest()}"'
    for known in (etag, f'"other", W/{etag}', "*"):
        answer = user.get(f"/v1/models/{trained}/export", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
    assert user.get(f"/v1/models/{trained}/export", headers={"If-None-Match": '"other"'}).status_code == 200


def test_an_unknown_format_lists_the_known_ones(user: TestClient, trained: str) -> None:
    answer = user.get(f"/v1/models/{trained}/export?format=pickle")
    assert answer.status_code == 422
    assert "safetensors" in answer.text


@pytest.mark.parametrize("state", ["queued", "running", "cancelled", "failed"])
def test_without_a_model_every_route_says_409(
    house: House, user: TestClient, submit: Callable[..., str], state: str
) -> None:
    id = submit()
    if state in {"running", "failed"}:
        lease = house.claim(id)
        if state == "failed":
            lease.fail("diverged", "The loss became infinite.")
    elif state == "cancelled":
        user.post(f"/v1/jobs/{id}/cancel")
    answers = [
        user.get(f"/v1/models/{id}"),
        user.get(f"/v1/models/{id}/export"),
        user.post(f"/v1/models/{id}/predict", json={"inputs": [SETOSA]}),
    ]
    assert [answer.status_code for answer in answers] == [409] * 3
    assert {answer.json()["code"] for answer in answers} == {
        "not_finished" if state in {"queued", "running"} else "conflict"
    }


def test_a_damaged_file_is_never_served(house: House, user: TestClient, trained: str) -> None:
    (file,) = house.record.artifacts.folder.rglob("model.safetensors")
    file.chmod(0o600)
    file.write_bytes(b"\x00" * file.stat().st_size)
    assert user.get(f"/v1/models/{trained}/export").status_code == 409
    assert "damaged" in user.post(f"/v1/models/{trained}/predict", json={"inputs": [SETOSA]}).json()["detail"]


def test_of_two_jobs_with_the_same_model_only_the_damaged_file_is_refused(
    house: House, user: TestClient, submit: Callable[..., str], trained: str, weights: bytes
) -> None:
    twin = submit()
    house.finish(twin, weights)
    assert user.get(f"/v1/models/{trained}/export").status_code == 200
    (file,) = (f for f in house.record.artifacts.folder.rglob("model.safetensors") if twin in f.parts)
    file.chmod(0o600)
    file.write_bytes(b"\x00" * file.stat().st_size)
    assert user.get(f"/v1/models/{twin}/export").status_code == 409
    assert user.get(f"/v1/models/{trained}/export").status_code == 200


def test_a_model_file_that_vanished_after_it_was_used_is_a_conflict_not_an_accident(
    house: House, user: TestClient, trained: str
) -> None:
    assert user.post(f"/v1/models/{trained}/predict", json={"inputs": [SETOSA]}).status_code == 200
    (file,) = house.record.artifacts.folder.rglob("model.safetensors")
    file.unlink()
    assert user.post(f"/v1/models/{trained}/predict", json={"inputs": [SETOSA]}).status_code == 409
    assert user.get(f"/v1/models/{trained}/export").status_code == 409


WAV = b"RIFF\x00\x00\x00\x00WAVE"


@pytest.fixture
def sounding(house: House, submit: Callable[..., str], weights: bytes) -> str:
    """A finished job that left more than its model."""
    id = submit()
    house.finish(id, weights, clean_wav=WAV, latent_safetensors=b"vectors", episode_gif=b"GIF89a", notes_html=b"<b>")
    return id


def test_every_file_of_a_job_is_listed_and_given_out_as_what_it_is(user: TestClient, sounding: str) -> None:
    model = user.get(f"/v1/models/{sounding}").json()
    listed = {file["name"]: file for file in model["files"]}
    assert set(listed) == {"model.safetensors", "clean.wav", "latent.safetensors", "episode.gif", "notes.html"}
    assert listed["clean.wav"]["sha256"] == hashlib.sha256(WAV).hexdigest()
    assert listed["clean.wav"]["size"] == len(WAV)
    kinds = {}
    for name in listed:
        answer = user.get(model["links"][name])
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
        kinds[name] = answer.headers["content-type"]
    # A browser may show pictures and play sound; it is never given a page.
    assert kinds.pop("clean.wav") == "audio/wav"
    assert kinds.pop("episode.gif") == "image/gif"
    assert set(kinds.values()) == {"application/octet-stream"}


@pytest.mark.parametrize("name", ["absent.wav", "%2e%2e", "%2e%2e%2fmodel.safetensors", "clean.wav%00", "x" * 200])
def test_a_file_that_a_job_did_not_leave_is_not_found(user: TestClient, sounding: str, name: str) -> None:
    assert user.get(f"/v1/models/{sounding}/files/{name}").status_code in (404, 405, 422)


def test_files_of_others_and_damaged_ones_are_not_given_out(house: House, user: TestClient, sounding: str) -> None:
    path, stranger = f"/v1/models/{sounding}/files/clean.wav", house.key("stranger", "read")
    assert stranger.get(path).status_code == 404
    etag = user.get(path).headers["etag"]
    assert user.get(path, headers={"If-None-Match": etag}).status_code == 304
    (file,) = house.record.artifacts.folder.rglob("clean.wav")
    file.chmod(0o600)
    file.write_bytes(b"\x00" * len(WAV))
    answer = user.get(path)
    assert (answer.status_code, "clean.wav" in answer.json()["detail"]) == (409, True)


def test_an_inner_layer_and_its_name_come_over_http(user: TestClient, trained: str) -> None:
    answer = user.post(f"/v1/models/{trained}/predict", json={"inputs": [SETOSA], "layer": 0}).json()
    w = load(user.get(f"/v1/models/{trained}/export").content)
    expected = np.maximum(np.float32(SETOSA) @ w["dense/w"] + w["dense/b"], 0)
    assert answer["layer"] == "dense"
    assert answer["predictions"][0]["output"] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"layer": "dens"}, "layer"),
        ({"layer": True}, "layer"),
        ({"state": "new"}, "state"),
        ({"state": "old"}, "state"),
        ({"temperature": -1}, "temperature"),
        ({"length": 0}, "length"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wish_that_cannot_be_met_is_named(user: TestClient, trained: str, more: dict[str, Any], path: str) -> None:
    answer = user.post(f"/v1/models/{trained}/predict", json={"inputs": [SETOSA], **more})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"].split(".")[0] == path
