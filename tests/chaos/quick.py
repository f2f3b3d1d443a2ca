"""What the scenarios of brokers, clocks and disks share: jobs of a moment, and how long each waited for its start."""

import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import select

from services.fleet import Fleet
from services.sql.engine import reading
from services.sql.schema import attempts, jobs
from tests.chaos.faults import quantile
from tests.chaos.invariants import Evidence, check
from tests.chaos.registry import Findings
from tests.chaos.yard import Yard

USUAL: Final[Mapping[str, Any]] = {"heartbeat_seconds": 5.0, "silent_seconds": 30.0, "poll_seconds": 10.0}
"""The settings of a real installation: what is promised is promised for these."""
END_SECONDS: Final = 300.0


def moment(seed: int = 1, epochs: int = 2, **reliability: Any) -> dict[str, Any]:
    """A job that is over in a moment."""
    return {
        "name": f"moment-{seed}", "task": "classification", "dataset": {"name": "iris"},
        "network": {"layers": [{"type": "dense", "units": 8, "activation": "relu"},
                               {"type": "dense", "units": 3, "activation": "softmax"}]},
        "training": {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "batch_size": 16,
                     "epochs": epochs, "seed": seed},
        "baseline": False, "reliability": reliability,
    }  # fmt: skip


def warm_up(yard: Yard) -> None:
    """Wait until every worker has shown that it can train: what follows is no start of a worker."""
    while len({one.current_job or one.id for one in Fleet(yard.engine).workers()}) < len(yard.workers):
        time.sleep(0.1)
    for _ in range(2):
        yard.wait([yard.submit(moment(number)) for number in range(2 * len(yard.workers))])


def timed_submit(yard: Yard, spec: Mapping[str, Any] | str, seed: int = 1) -> tuple[str, float]:
    """Post a job: its id, and the seconds until it was acknowledged."""
    began = time.monotonic()
    return yard.submit(spec, seed), time.monotonic() - began


def starts(yard: Yard, number: int = 1) -> dict[str, tuple[float, float]]:
    """When each accepted job was posted and when its attempt of this number started, in seconds since 1970."""
    wanted = select(jobs.c.id, jobs.c.created_at, attempts.c.started_at).join(attempts, attempts.c.job == jobs.c.id)
    with reading(yard.engine) as connection:
        rows = connection.execute(wanted.where(attempts.c.number == number)).all()
    known = {row.id: (row.created_at.timestamp(), row.started_at.timestamp()) for row in rows}
    return {id: known[id] for id in yard.accepted if id in known}


def spread(values: Collection[float]) -> dict[str, float]:
    """How many, and the quantiles that the goals name."""
    seconds = list(values)
    if not seconds:
        return {"n": 0}
    told = {"p50": quantile(seconds, 0.5), "p99": quantile(seconds, 0.99), "max": max(seconds)}
    return {"n": len(seconds)} | {name: round(value, 3) for name, value in told.items()}


def concluded(
    yard: Yard, figures: dict[str, Any], more: Mapping[str, list[str]], *, seconds: float = END_SECONDS, **evidence: Any
) -> Findings:
    """Let everything end, check every rule, and put together what came out; empty lists of `more` are left out."""
    late = yard.wait(seconds=seconds)
    references: Mapping[str, str] = evidence.pop("references", {})
    violations = check(Evidence.of(yard, references, **evidence))
    violations |= {name: found for name, found in more.items() if found}
    if late:
        violations["the end"] = [f"job {id} had not ended after {seconds:.0f} s" for id in late]
    return Findings(violations, figures)
