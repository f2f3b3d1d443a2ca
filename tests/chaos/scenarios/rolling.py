"""A rolling restart: every worker and the API are asked to end, in turn, while jobs train and are posted."""

import time
from typing import Any

from tests.chaos.invariants import Evidence
from tests.chaos.quick import USUAL, concluded, moment, timed_submit
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.scenarios.kills import run_references
from tests.chaos.yard import Yard, open_yard

KINDS = ("digits", "agent")
DRAIN_SECONDS = 60.0
BETWEEN_SECONDS = 3.0
DRAINED = {None, "The worker is shutting down."}


@scenario("rolling", "SIGTERM to every part in turn under load", counts={"rolls": 4})
def run(trial: Trial) -> Findings:
    """Each roll ends both workers and the API once; every attempt that was cut must say that it was drained."""
    mine: dict[str, str] = {}
    acknowledged: list[float] = []
    with open_yard(trial.folder, trial.database, **USUAL) as yard:
        references = run_references(yard, KINDS)
        deck = [name for _ in range(trial.counts["rolls"]) for name in ("worker-1", "api", "worker-2")]
        for number, name in enumerate(deck, 1):
            while len(yard.live()) < 4:
                kind = trial.dice.choice(KINDS)
                mine[yard.submit(kind)] = references[kind]
            time.sleep(trial.dice.uniform(0.5, BETWEEN_SECONDS))
            seconds = _roll(yard, name)
            acknowledged.append(timed_submit(yard, moment(number))[1])
            trial.say(number, len(deck), f"{name} was back after {seconds:.1f} s")
        yard.wait(seconds=300)
        tries = Evidence.of(yard, {}).rows["attempts"]
        odd = [
            f"job {id} attempt {one['number']}: {one['message']}"
            for id, rows in tries.items() for one in rows if one["message"] not in DRAINED
        ]  # fmt: skip
        figures: dict[str, Any] = {
            "jobs": len(yard.accepted), "parts ended": len(deck),
            "attempts drained": sum(one["outcome"] == "queued" for rows in tries.values() for one in rows),
            "longest post, s": round(max(acknowledged), 2),
        }  # fmt: skip
        return concluded(yard, figures, {"attempts are drained": odd}, references=mine)


def _roll(yard: Yard, name: str) -> float:
    """Ask a part to end and wait until it has been started again; returns the seconds."""
    part, began = yard.parts[name], time.monotonic()
    before = part.pid
    part.terminate()
    while part.pid == before and time.monotonic() - began < DRAIN_SECONDS:
        time.sleep(0.05)
    return time.monotonic() - began
