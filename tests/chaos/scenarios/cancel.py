"""Cancel against everything else: races over the record, then real jobs, frozen trainers and frozen zygotes."""

import contextlib
import random
import time
from pathlib import Path
from typing import Any

from services.jobs import TERMINAL
from services.keys import ADMIN_TENANT
from tests.chaos.quick import USUAL, concluded, spread
from tests.chaos.races import races
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.yard import Yard, open_yard

GOAL, HARD_GOAL = 10.0, 20.0
RUNNING_SECONDS = 60.0
FROZEN_SECONDS = 45.0


@scenario(
    "cancel", "cancel against finish, death, reaper, claim; and how long it takes",
    counts={"races": 1000, "cancels": 60, "frozen_cancels": 10},
)  # fmt: skip
def run(trial: Trial) -> Findings:
    """First the record alone, with no worker about; then a yard with workers."""
    outcomes, wrong = _races(trial)
    with open_yard(trial.folder / "two", trial.database, **USUAL) as yard:
        plain = [_cancel(yard, trial.dice, None) for _ in _told(trial, "cancels")]
        frozen = [_cancel(yard, trial.dice, ("trainer", "zygote")[n % 2]) for n in _told(trial, "frozen_cancels")]
        usual, hard = ([found for found in tries if found is not None] for tries in (plain, frozen))
        slow = [f"a cancel took {s:.1f} s" for s in usual if s > GOAL]
        slow += [f"a cancel of something frozen took {s:.1f} s" for s in hard if s > HARD_GOAL]
        figures = {
            "races": trial.counts["races"], **{f"race: {name}": n for name, n in sorted(outcomes.items())},
            "cancel to its end, s": spread(usual), "frozen, cancel to its end, s": spread(hard),
        }  # fmt: skip
        ends = dict.fromkeys(yard.accepted, ("cancelled", "succeeded"))
        return concluded(yard, figures, {"races agree": wrong, "cancelled in time": slow}, expected=ends)


def _races(trial: Trial) -> tuple[dict[str, int], list[str]]:
    (trial.folder / "one").mkdir()
    (trial.folder / "two").mkdir()
    with open_yard(Path(trial.folder / "one"), trial.database, workers=0) as yard:
        total = trial.counts["races"]
        outcomes, wrong = races(
            yard.engine, total, random.Random(trial.seed), lambda number: trial.say(number, total, "races")
        )
    return dict(outcomes), wrong


def _told(trial: Trial, name: str) -> Any:
    for number in range(trial.counts[name]):
        yield number
        trial.say(number + 1, trial.counts[name], name)


def _cancel(yard: Yard, dice: random.Random, freeze: str | None) -> float | None:
    """Seconds from the call to the end of a running job, its trainer or zygote frozen if asked; None: too late."""
    id = yard.submit("agent")
    end = time.monotonic() + RUNNING_SECONDS
    while yard.jobs.get(ADMIN_TENANT, id).phase != "training" and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(dice.uniform(0.0, 1.5))
    if freeze:
        for victim in yard.roles(freeze):
            yard.keeper.freeze(victim.pid, FROZEN_SECONDS)
    began = time.monotonic()
    with contextlib.suppress(Exception):
        yard.client.cancel(id)
    while (job := yard.jobs.get(ADMIN_TENANT, id)).state not in TERMINAL and time.monotonic() - began < FROZEN_SECONDS:
        time.sleep(0.02)
    lasted = time.monotonic() - began
    yard.keeper.thaw()
    return lasted if job.state == "cancelled" or not job.terminal else None
