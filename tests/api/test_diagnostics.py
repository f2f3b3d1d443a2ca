"""What the doctor found reaches users: the newest word on each illness, by HTTP, client and command line."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.console_diagnostics import print_diagnostics
from api.diagnostic_schemas import DiagnosticOut
from services.findings import one_line
from services.jobs import Checkpoint
from tests.api.stage import House

DEAD: dict[str, Any] = {
    "code": "dead_relu", "title": "Dead rectifiers", "severity": "warning", "state": "present",
    "path": "network.layers[0].activation", "layer": "dense.relu", "step": 7, "epoch": 1, "measured": 0.75,
    "unit": "share of units", "threshold": 0.5, "source": "a book", "explanation": "One. Two.",
    "next_step": "Take leaky_relu.", "patch": {"network": {"layers": []}},
}  # fmt: skip
RATE = DEAD | {"code": "learning_rate_too_big", "title": "Learning rate too big", "severity": "error", "path": None}


@pytest.fixture
def ill(house: House, submit: Callable[..., str]) -> str:
    """A job in which a layer died, another did and recovered, and the rate is too big."""
    id = submit()
    other = DEAD | {"path": "network.layers[1].activation"}
    said = [DEAD, other, RATE | {"measured": 3.0}, other | {"state": "gone"}, DEAD | {"measured": 0.8}]
    house.claim(id).record([("diagnostic", data) for data in said])
    return id


def test_the_newest_word_on_each_illness_and_layer_the_gravest_first(user: TestClient, ill: str) -> None:
    answer = user.get(f"/v1/jobs/{ill}/diagnostics")
    assert answer.status_code == 200
    found = answer.json()["items"]
    assert [(one["code"], one["path"], one["state"], one["measured"]) for one in found] == [
        ("learning_rate_too_big", None, "present", 3.0),
        ("dead_relu", "network.layers[0].activation", "present", 0.8),
        ("dead_relu", "network.layers[1].activation", "gone", 0.75),
    ]
    assert DEAD.items() <= (found[1] | {"measured": 0.75}).items()


def test_a_job_that_is_well_has_an_empty_list_and_a_foreign_one_none(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    assert user.get(f"/v1/jobs/{submit()}/diagnostics").json() == {"items": []}
    stranger = house.key("stranger", "read")
    assert stranger.get(f"/v1/jobs/{house.queue('somebody')}/diagnostics").status_code == 404


def test_a_repeated_step_that_differs_is_told_in_the_same_words(
    house: House, user: TestClient, submit: Callable[..., str]
) -> None:
    id = submit()
    lease = house.claim(id)
    for step, loss in ((1, 0.5), (2, 0.25)):
        lease.checkpoint(Checkpoint(step, f"t/{step}", "0" * 64, 1), [(1, "loss", loss)])
    (found,) = user.get(f"/v1/jobs/{id}/diagnostics").json()["items"]
    assert (found["code"], found["path"], found["step"]) == ("replay_differs", "loss", 1)
    assert (found["threshold"], found["measured"], found["severity"]) == (0.5, 0.25, "error")


def test_the_command_line_says_figure_threshold_explanation_step_and_patch(
    user: TestClient, ill: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [DiagnosticOut.model_validate(one) for one in user.get(f"/v1/jobs/{ill}/diagnostics").json()["items"]]
    print_diagnostics(found)
    words = ["    One. Two.", "    Take leaky_relu.", '    patch: {"network": {"layers": []}}']
    assert capsys.readouterr().out.splitlines() == [
        "error: Learning rate too big (dense.relu): 3 share of units; threshold 0.5",
        *words,
        "warning: Dead rectifiers (dense.relu): 0.8 share of units; threshold 0.5",
        *words,
        "has passed: Dead rectifiers (dense.relu)",
    ]


def test_a_finding_without_a_figure_is_still_a_sentence() -> None:
    assert one_line({"code": "replay_differs", "name": "loss"}) == "error: replay_differs (loss)"
