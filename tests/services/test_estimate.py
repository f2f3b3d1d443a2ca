"""An estimate is a finished job's own pace, scaled by the work of a step."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from services.estimate import Estimate, Pace, estimate, step_seconds
from services.jobs import JobStore, Progress
from services.lease import Lease
from tests.services.jobs_to_post import IRIS

FINISHED = Pace("near", 1_000_000, 0.01)
"""10 s for 1,000 steps of a million operations."""


def test_twice_the_steps_of_thrice_the_work_take_six_times_as_long() -> None:
    found = estimate([FINISHED], {"flops_per_step": 3_000_000, "total_steps": 2000})
    assert found == Estimate(60.0, "near")


def test_the_most_alike_job_is_asked() -> None:
    found = estimate([Pace("far", 10**12, 1e3), FINISHED], {"flops_per_step": 2_000_000, "total_steps": 1000})
    assert found is not None
    assert found.based_on == "near"


def test_steps_of_quite_another_size_tell_nothing() -> None:
    assert estimate([FINISHED], {"flops_per_step": 10**9, "total_steps": 1000}) is None


@pytest.mark.parametrize(
    ("attempt", "step", "result"), [(2, 10, {"train_seconds": 1.0}), (1, 0, {"train_seconds": 1.0}), (1, 10, None)]
)
def test_a_job_that_tells_no_pace_is_not_asked(attempt: int, step: int, result: dict[str, Any] | None) -> None:
    assert step_seconds(attempt, step, result) is None


def test_a_new_job_knows_how_long_it_will_take_once_one_like_it_has_finished(engine: Engine, store: JobStore) -> None:
    plan = {"flops_per_step": 1_000_000, "total_steps": 1000}
    assert store.submit("course", IRIS, plan)[0].expected_seconds is None
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    lease.beat(Progress(step=1000, total_steps=1000))
    lease.succeed("completed", {"train_seconds": 10.0}, [])
    assert store.submit("course", IRIS, plan | {"total_steps": 3000})[0].expected_seconds == 30.0
    assert store.submit("somebody else", IRIS, plan)[0].expected_seconds is None
    agent = IRIS | {"task": "reinforcement"}
    assert store.submit("course", agent, plan)[0].expected_seconds is None
