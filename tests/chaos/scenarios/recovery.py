"""How long it takes: one blow at a time, product settings, a free worker at hand, nothing else going on."""

import time
from typing import Any, Final

from services.jobs import JobState
from services.keys import ADMIN_TENANT
from tests.chaos.faults import Saboteur, quantile, recoveries
from tests.chaos.invariants import Evidence, check
from tests.chaos.kinds import spec_of
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.yard import LOOK_SECONDS, Yard, open_yard

SETTINGS: Final[dict[str, Any]] = {"heartbeat_seconds": 5.0, "silent_seconds": 30.0, "poll_seconds": 15.0}
"""The product's own, not the yard's."""
GOALS: Final = {
    "trainer killed, noticed": 2.0,
    "trainer killed, running again": 45.0,
    "worker tree killed, noticed": 35.0,
    "worker tree killed, running again": 45.0,
}
"""Seconds, for the slowest of a hundred."""
ROUND_SECONDS: Final = 240.0


@scenario("recovery", "how soon death is noticed and the job runs again", counts={"trainers": 20, "trees": 10})
def run(trial: Trial) -> Findings:
    """Kill trainers, then whole workers, one job at a time."""
    blows = ["trainer"] * trial.counts["trainers"] + ["worker tree"] * trial.counts["trees"]
    with open_yard(trial.folder, trial.database, workers=2, **SETTINGS) as yard:
        saboteur = Saboteur(yard, trial.dice)
        for done, target in enumerate(blows, 1):
            one_round(yard, saboteur, target)
            trial.say(done, len(blows), target)
        taken = recoveries(yard, saboteur.faults)
        cancelled = {id: (JobState.CANCELLED,) for id in yard.accepted}
        violations = check(Evidence.of(yard, {}, expected=cancelled))
    slow = [f"{name}: {quantile(taken[name], 0.99):.1f} s, the goal is {goal:.0f} s" for name, goal in GOALS.items()
            if name in taken and quantile(taken[name], 0.99) > goal]  # fmt: skip
    if slow:
        violations["recovery in time"] = slow
    return Findings(violations, figures(taken))


def one_round(yard: Yard, saboteur: Saboteur, target: str) -> None:
    """Post a long job, let it make progress, hit it, wait until it runs again, cancel it."""
    spec = spec_of("iris")
    id = yard.submit(spec | {"training": spec["training"] | {"epochs": 100_000}})
    until(lambda: (yard.jobs.get(ADMIN_TENANT, id).checkpoint_step or 0) > 0, f"a checkpoint of {id}")
    until(lambda: saboteur.kill(target, idle=0.0), f"a {target} to kill")
    until(lambda: yard.jobs.get(ADMIN_TENANT, id).attempt > 1, f"the second attempt of {id}")
    yard.client.cancel(id)
    until(lambda: yard.jobs.get(ADMIN_TENANT, id).terminal, f"the end of {id}")


def until(holds: Any, what: str) -> None:
    """Wait for something; fails after some minutes."""
    end = time.monotonic() + ROUND_SECONDS
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {ROUND_SECONDS:.0f} s"
        time.sleep(LOOK_SECONDS)


def figures(taken: dict[str, list[float]]) -> dict[str, Any]:
    """Seconds by what was hit: how many, the median, the 99th percentile."""
    return {
        name: {"n": len(seconds), "p50": round(quantile(seconds, 0.5), 2), "p99": round(quantile(seconds, 0.99), 2)}
        for name, seconds in sorted(taken.items())
    }
