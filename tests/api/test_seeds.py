"""Several seeds of one spec: jobs under one label, a table, and an interval that means what it says."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import seeds, session
from api.client import Client
from api.seeds import Spread, score_of, variants
from api.session import FAILED, WRONG
from services.errors import Invalid
from services.jobs import Reason
from services.lease import Lease
from tests.api.stage import BASE, House, iris
from tests.api.test_cli import Run, run  # noqa: F401 - a fixture


@pytest.fixture
def served(run: Run, house: House, user: TestClient, monkeypatch: pytest.MonkeyPatch) -> Run:  # noqa: F811
    """The command line before a real application, whose jobs are done whenever somebody waits."""

    @contextmanager
    def connected() -> Any:
        with Client(BASE, house.secrets["user"], transport=user._transport) as client:
            yield client

    monkeypatch.setattr(session, "connected", connected)
    monkeypatch.setattr(seeds, "time", SimpleNamespace(sleep=lambda _: work(house)))
    return run


def work(house: House) -> None:
    """Finish every queued job: seed 7 fails, seed s reaches an accuracy of s percent."""
    while (lease := Lease.claim(house.record.jobs.engine, "worker-1", {"cpu"})) is not None:
        seed = lease.job.spec["training"]["seed"]
        if seed == 7:
            lease.fail(Reason.DIVERGED, "no")
        else:
            lease.succeed(Reason.COMPLETED, {"test": {"accuracy": seed / 100}}, [], [])


def spec_of(seed: int) -> str:
    return json.dumps(iris(training=iris()["training"] | {"seed": seed}))


def test_every_seed_is_a_job_under_one_label_and_the_table_says_how_they_did(served: Run, house: House) -> None:
    code, text, _ = served("submit", "-", "--seeds", "3", stdin=spec_of(90))
    assert code == 0
    assert "queued 3 jobs" in text
    assert "accuracy 0.91 ± 0.024843 (95 % interval of the mean, 3 seeds; 0.9 to 0.92)" in text
    jobs = json.loads(served("jobs", "--json")[1])
    assert {tuple(job["labels"]) for job in jobs} == {("course-2", jobs[0]["labels"][1])}
    assert sorted(job["result"]["test"]["accuracy"] for job in jobs) == [0.9, 0.91, 0.92]


def test_programs_get_the_same_as_json(served: Run) -> None:
    found = json.loads(served("submit", "-", "--seeds", "2", "--json", stdin=spec_of(40))[1])
    assert [row["seed"] for row in found["jobs"]] == [40, 41]
    assert found["mean"] == pytest.approx(0.405)
    assert found["half_width"] == pytest.approx(12.706 * 0.01 / math.sqrt(2) / math.sqrt(2))


def test_a_seed_that_fails_is_told_and_the_exit_code_says_so(served: Run) -> None:
    code, text, _ = served("submit", "-", "--seeds", "2", stdin=spec_of(6))
    assert code == FAILED
    assert "seed 7: failed" in text
    assert "accuracy 0.06 (95 % interval of the mean, 1 seeds" in text


def test_a_spec_without_anything_to_count_from_is_wrong(served: Run) -> None:
    assert served("submit", "-", "--seeds", "2", stdin="training: 5")[0] == WRONG
    assert served("submit", "-", "--seeds", "2", stdin="[1, 2]")[0] == WRONG
    assert served("submit", "-", "--seeds", "2", stdin=json.dumps(iris(task="clasification")))[0] == WRONG


def test_a_seed_that_nobody_named_is_0() -> None:
    assert [one["training"]["seed"] for one in variants("training: {epochs: 3}", 3)] == [0, 1, 2]
    with pytest.raises(Invalid, match="no seed to count from"):
        variants("training: {seed: many}", 2)


def test_the_interval_is_student_s() -> None:
    spread = Spread("accuracy", tuple(float(k) for k in range(1, 6)))
    assert spread.mean == 3
    assert spread.half_width == pytest.approx(2.776 * math.sqrt(2.5) / math.sqrt(5))
    assert Spread("accuracy", (1.0,)).half_width is None
    assert Spread("accuracy", (2.0,) * 40).half_width == 0


@pytest.mark.parametrize(
    ("result", "score"),
    [
        ({"test": {"loss": 1.0, "accuracy": 0.9}}, ("accuracy", 0.9)),
        ({"test": {"episode_return": 500.0}, "baseline": {"metric": "episode_return"}}, ("episode_return", 500.0)),
        ({"test": {"mean_squared_error": 2, "r2": 0.5}, "baseline": {"metric": "r2"}}, ("r2", 0.5)),
        ({"test": {}}, None),
        (None, None),
    ],
)
def test_the_score_is_the_figure_that_the_baseline_is_compared_by(result: Any, score: Any) -> None:
    assert score_of(result) == score
