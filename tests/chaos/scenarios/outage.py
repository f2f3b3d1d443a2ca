"""The broker is away for a long time; jobs are posted all the while, and when it is back."""

import time
from typing import Final

from tests.chaos.quick import USUAL, concluded, moment, spread, starts, timed_submit, warm_up
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.yard import open_yard

EVERY_SECONDS: Final = 5.0
AWAY_GOAL: Final = 30.0
BACK_GOAL: Final = 15.0
SUBMIT_GOAL: Final = 2.0


@scenario("outage", "no broker for minutes", counts={"outage": 600}, databases=("sqlite",))
def run(trial: Trial) -> Findings:
    """A job every few seconds without a broker, then a few when it is back."""
    away, acknowledged = trial.counts["outage"], list[float]()
    with open_yard(trial.folder, **USUAL) as yard:
        warm_up(yard)
        warm = len(yard.accepted)
        yard.parts["broker"].down(away)
        began = time.monotonic()
        while time.monotonic() - began < away:
            acknowledged.append(timed_submit(yard, moment(len(yard.accepted)))[1])
            ran = time.monotonic() - began
            trial.say(int(min(ran, away)), away, f"{len(yard.accepted)} jobs posted")
            time.sleep(EVERY_SECONDS)
        without = set(yard.accepted[warm:])
        for _ in range(5):
            acknowledged.append(timed_submit(yard, moment(len(yard.accepted)))[1])
            time.sleep(EVERY_SECONDS)
        yard.wait(seconds=120)
        waited = {id: start - posted for id, (posted, start) in starts(yard).items()}
        goals = {id: AWAY_GOAL if id in without else BACK_GOAL for id in yard.accepted[warm:]}
        slow = [f"job {id} waited {waited.get(id, -1):.1f} s" for id in goals if waited.get(id, 1e9) > goals[id]]
        stuck = [f"a post took {seconds:.1f} s" for seconds in acknowledged if seconds > SUBMIT_GOAL]
        figures = {
            "jobs": len(yard.accepted), "seconds without a broker": away,
            "start without a broker, s": spread([seconds for id, seconds in waited.items() if id in without]),
            "start when it is back, s": spread([waited[id] for id in yard.accepted[-5:] if id in waited]),
            "post acknowledged, s": spread(acknowledged),
        }  # fmt: skip
        return concluded(yard, figures, {"started in time": slow, "posts wait for no broker": stuck})
