"""An estimate is a finished job's own pace, scaled by the work of a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.estimate import estimate
from services.jobs import Job, JobStore
from tests.services.jobs_to_post import IRIS


@pytest.fixture
def finished(store: JobStore) -> Job:
    """A job that took 10 s for 1,000 steps of a million operations."""
    job, _ = store.submit("course", IRIS, {"flops_per_step": 1_000_000, "total_steps": 1000})
    return replace(job, attempt=1, step=1000, result={"train_seconds": 10.0})


def test_twice_the_steps_of_thrice_the_work_take_six_times_as_long(finished: Job) -> None:
    found = estimate([finished], {"flops_per_step": 3_000_000, "total_steps": 2000})
    assert found is not None
    assert (found.seconds, found.based_on) == (60.0, finished.id)


def test_the_most_alike_job_is_asked(finished: Job) -> None:
    far = replace(finished, id="far", outline={"flops_per_step": 10**12}, result={"train_seconds": 1e6})
    found = estimate([far, finished], {"flops_per_step": 2_000_000, "total_steps": 1000})
    assert found is not None
    assert found.based_on == finished.id


@pytest.mark.parametrize("change", [{"attempt": 2}, {"step": 0}, {"result": None}, {"outline": {}}])
def test_a_job_that_tells_no_pace_is_not_asked(finished: Job, change: dict[str, Any]) -> None:
    assert estimate([replace(finished, **change)], {"flops_per_step": 1, "total_steps": 1}) is None
