"""Studies over HTTP, in the client and on the command line."""

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from starlette.testclient import TestClient

from api.client import Client
from api.session import FAILED, WRONG
from api.wire import Refused
from services.lease import Lease
from services.studies.advance import advance
from tests.api.stage import BASE, House, iris
from tests.api.test_cli import Run, run, served

__all__ = ["run", "served"]


def seeds(**more: Any) -> dict[str, Any]:
    return {"schema": "trainyard-study/v1", "name": "luck", "type": "seeds", "seeds": 3, "job": iris(), **more}


@pytest.fixture
def trainyard(house: House, user: TestClient) -> Iterator[Client]:
    with Client(BASE, house.secrets["user"], transport=user._transport) as client:
        yield client


def work(house: House, score: float = 0.9) -> None:
    """A worker does all there is, and moves studies on."""
    engine = house.record.jobs.engine
    for _ in range(20):
        while (lease := Lease.claim(engine, "w", {"cpu"})) is not None:
            lease.succeed("completed", {"test": {"accuracy": score}, "validation": {"accuracy": score}}, [])
        if not advance(engine):
            return


def test_a_study_is_accepted_and_followed_to_its_verdict(house: House, user: TestClient) -> None:
    answer = user.post("/v1/studies", json=seeds())
    assert answer.status_code == 202
    begun = answer.json()
    assert answer.headers["location"] == f"/v1/studies/{begun['id']}"
    assert (begun["state"], begun["trials"], begun["metric"]) == ("running", {"queued": 3}, "accuracy")
    assert [trial["varied"] for trial in begun["table"]] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert user.get(f"/v1/studies/{begun['id']}/figure.svg").status_code == 409
    jobs = user.get(begun["links"]["jobs"]).json()["items"]
    assert {job["id"] for job in jobs} == {trial["job"] for trial in begun["table"]}
    work(house)
    done = user.get(f"/v1/studies/{begun['id']}").json()
    assert (done["state"], done["progress"], done["result"]["verdict"]) == ("succeeded", 1, done["verdict"])
    picture = user.get(done["links"]["figure"])
    assert picture.headers["content-type"] == "image/svg+xml"
    assert "default-src 'none'" in picture.headers["content-security-policy"]
    assert ElementTree.fromstring(picture.text).findtext("{*}title") == "luck"
    listed = user.get("/v1/studies").json()["items"]
    assert [one["id"] for one in listed] == [begun["id"]]


def test_a_plan_says_what_a_study_would_cost_and_queues_nothing(house: House, user: TestClient) -> None:
    plan = user.post("/v1/studies/validate", json=seeds()).json()
    assert (plan["trials"], plan["parallel"], plan["metric"]) == (3, 8, "accuracy")
    assert plan["bytes"] > 0
    assert plan["steps"] == 3 * 2 * 7
    assert plan["compute_seconds"] is None
    assert user.get("/v1/jobs").json()["items"] == []


def test_a_search_is_planned_whole_and_run_round_by_round(house: House, user: TestClient) -> None:
    space = {"training.optimizer.learning_rate": {"low": 0.001, "high": 1.0, "scale": "log"}}
    wanted = {"type": "search", "job": iris(), "space": space, "trials": 5, "together": 2}
    plan = user.post("/v1/studies/validate", json=wanted).json()
    assert (plan["trials"], plan["steps"], len(plan["varied"])) == (5, 5 * 2 * 7, 1)
    begun = user.post("/v1/studies", json=wanted).json()
    assert begun["trials"] == {"queued": 1, "waiting": 4}
    work(house)
    done = user.get(f"/v1/studies/{begun['id']}").json()
    assert (done["state"], done["trials"], len(done["table"])) == ("succeeded", {"succeeded": 5}, 5)
    assert user.post(f"/v1/studies/{begun['id']}/extend", json={"seeds": 1}).status_code == 409


def test_every_mistake_of_a_study_comes_at_once(user: TestClient) -> None:
    for path in ("/v1/studies", "/v1/studies/validate"):
        answer = user.post(path, json=seeds(seeds=0, sedes=1, job=iris(task="cooking")))
        assert answer.status_code == 422
        assert {"seeds", "sedes", "job.task"} <= {error["path"] for error in answer.json()["errors"]}


def test_a_study_posted_twice_with_one_key_is_one_study(user: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (user.post("/v1/studies", json=seeds(), headers=headers).json() for _ in range(2))
    assert first["id"] == again["id"]
    assert user.post("/v1/studies", json=seeds(seeds=2), headers=headers).json()["code"] == "key_reused"


def test_cancelling_deleting_and_extending(house: House, user: TestClient) -> None:
    id = user.post("/v1/studies", json=seeds()).json()["id"]
    assert user.delete(f"/v1/studies/{id}").status_code == 409
    work(house)
    assert user.post(f"/v1/studies/{id}/cancel").status_code == 409
    assert user.post(f"/v1/studies/{id}/extend", json={"seeds": 0}).status_code == 422
    assert user.post(f"/v1/studies/{id}/extend", json={"seeds": 99}).status_code == 422
    more = user.post(f"/v1/studies/{id}/extend", json={"seeds": 2}).json()
    assert (more["state"], more["trials"]) == ("running", {"queued": 2, "succeeded": 3})
    cancelled = user.post(f"/v1/studies/{id}/cancel").json()
    assert cancelled["trials"] == {"cancelled": 2, "succeeded": 3}
    work(house)
    assert user.get(f"/v1/studies/{id}").json()["state"] == "cancelled"
    assert user.delete(f"/v1/studies/{id}").status_code == 204
    assert user.get(f"/v1/studies/{id}").status_code == 404
    assert user.get("/v1/jobs").json()["items"] == []


def test_foreign_studies_are_missing_ones(house: House, user: TestClient) -> None:
    id = user.post("/v1/studies", json=seeds()).json()["id"]
    stranger = house.key("stranger", "admin")
    for method, path in (("GET", ""), ("GET", "/figure.svg"), ("POST", "/cancel"), ("POST", "/extend"), ("DELETE", "")):
        body: Any = {"json": {"seeds": 1}} if method == "POST" else {}
        assert stranger.request(method, f"/v1/studies/{id}{path}", **body).status_code == 404
    assert stranger.get("/v1/studies").json()["items"] == []
    assert user.get(f"/v1/studies/{id}").json()["trials"] == {"queued": 3}


def test_the_schema_of_studies_is_served(user: TestClient) -> None:
    schema = user.get("/v1/schema/study").json()
    assert "Job" in schema["$defs"]
    assert "StudySpec" in user.get("/openapi.json").json()["components"]["schemas"]


def test_the_client_knows_every_route(house: House, trainyard: Client) -> None:
    assert trainyard.validate_study(seeds()).trials == 3
    begun = trainyard.study(json.dumps(seeds()))
    work(house)
    assert [found.state for found in trainyard.follow_study(begun.id, every=0)][-1] == "succeeded"
    assert trainyard.figure(begun.id).startswith("<svg")
    assert trainyard.extend_study(begun.id, 1).trials == {"queued": 1, "succeeded": 3}
    assert trainyard.cancel_study(begun.id).cancel_requested
    work(house)
    assert [study.id for study in trainyard.studies(limit=1)] == [begun.id]
    trainyard.delete_study(begun.id)
    with pytest.raises(Refused):
        trainyard.get_study(begun.id)


def test_the_command_line_runs_a_study(house: House, served: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(seeds())
    code, told, _ = served("study", "-", "--plan", stdin=text)
    assert (code, "The study is right." in told) == (0, True)
    code, told, _ = served("study", "-", stdin=text)
    assert (code, "3 trials" in told) == (0, True)
    assert "queued" in served("studies", "show")[1]
    work(house)
    code, told, _ = served("studies", "follow")
    assert (code, "accuracy is 0.9 ± 0" in told) == (0, True)
    assert "luck" in served("studies")[1]
    assert served("studies", "figure")[1].startswith("<svg")
    assert "now has 4 trials" in served("studies", "extend", "last", "--seeds", "1")[1]
    assert served("studies", "cancel", "last")[0] == 0
    work(house)
    assert served("studies", "follow", "last")[0] == FAILED
    assert json.loads(served("studies", "--json")[1])[0]["state"] == "cancelled"
    assert served("studies", "delete", "last")[0] == 0
    assert served("study", "-", stdin=json.dumps(seeds(seeds=0)))[0] == WRONG


def test_an_interrupted_follower_says_how_to_come_back(served: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("api.client.time.sleep", interrupted)
    code, told, _ = served("study", "-", "--follow", stdin=json.dumps(seeds()))
    assert code == 130
    assert "trainyard studies follow" in told
