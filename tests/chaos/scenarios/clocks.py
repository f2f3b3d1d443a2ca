"""The machine's clock jumps an hour and a year, forwards and back, while jobs train, die and are posted."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.chaos.faults import Saboteur
from tests.chaos.invariants import RULES, Evidence
from tests.chaos.quick import moment, spread
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.scenarios.kills import run_references
from tests.chaos.yard import open_yard

KINDS: Final = ("digits", "agent")
OFF: Final = ("+1h", "-1h", "+365d", "-365d", "+0")
STAY_SECONDS: Final = 6.0
GOAL: Final = 30.0
#: These compare moments by the clock that this scenario breaks.
BLIND: Final = ("I3", "I8")


@scenario("clocks", "the clock jumps ± 1 h and ± 1 y (needs libfaketime)", counts={"jumps": 10}, databases=("sqlite",))
def run(trial: Trial) -> Findings:
    """Jump, post a short job, kill a trainer; short jobs must end soon by a clock that does not jump."""
    library = next(_libraries(), None)
    if library is None:
        return Findings({}, {"left out": "no libfaketime on this machine"})
    clock = trial.folder / "clock"
    clock.write_text("+0")
    env = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    mine: dict[str, str] = {}
    lasted: list[float] = []
    with open_yard(trial.folder, trial.database, env=env, silent_seconds=5.0) as yard:
        references = run_references(yard, KINDS)
        saboteur = Saboteur(yard, trial.dice)
        for number in range(trial.counts["jumps"]):
            while len(yard.live()) < 2:
                kind = trial.dice.choice(KINDS)
                mine[yard.submit(kind)] = references[kind]
            clock.write_text(OFF[number % len(OFF)])
            time.sleep(STAY_SECONDS / 2)
            saboteur.kill("trainer")
            began, id = time.monotonic(), yard.submit(moment(number))
            yard.wait([id], seconds=2 * GOAL)
            lasted.append(time.monotonic() - began)
            time.sleep(STAY_SECONDS / 2)
            trial.say(number + 1, trial.counts["jumps"], f"clock {OFF[number % len(OFF)]}")
        clock.write_text("+0")
        late = yard.wait(seconds=300)
        evidence = Evidence.of(yard, mine)
        found = {name: list(rule(evidence)) for name, rule in RULES.items() if not name.startswith(BLIND)}
        found["in time"] = [f"a job of a moment took {seconds:.1f} s" for seconds in lasted if seconds > GOAL]
        found["the end"] = [f"job {id} had not ended" for id in late]
        figures = {"jumps": trial.counts["jumps"], "jobs": len(yard.accepted), "kills": saboteur.count("kill"),
                   "post to end under a wrong clock, s": spread(lasted)}  # fmt: skip
    return Findings({name: words for name, words in found.items() if words}, figures)


def _libraries() -> Iterator[Path]:
    """Where libfaketime for programs with threads lies."""
    for folder in ("/usr/lib", "/usr/local/lib"):
        yield from Path(folder).glob(f"{os.uname().machine}-*/faketime/libfaketimeMT.so.1")
        yield from Path(folder).glob("faketime/libfaketimeMT.so.1")
