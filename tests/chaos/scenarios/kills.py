"""Processes killed and frozen at random moments while jobs of every kind train."""

import time
from typing import Any, Final

from services.keys import ADMIN_TENANT
from tests.chaos.faults import Saboteur, quantile, recoveries, rest, tally
from tests.chaos.invariants import Evidence, check, orphan_files
from tests.chaos.kinds import KINDS
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.yard import Yard, open_yard

WORKERS: Final = 3
LIVE_JOBS: Final = 10
"""So many jobs are kept alive: one that was hit waits 10 s, and the workers shall have others meanwhile."""
REST: Final = (0.02, 0.8)
BEYOND_LEASE: Final = (2.5, 5.0)
"""Seconds that a freeze lasts longer than the lease: the reaper looks every 2 s."""
END_SECONDS: Final = 600.0
REFERENCE_TRIES: Final = 4


@scenario("kills", "SIGKILL and SIGSTOP to random processes while jobs train", counts={"kills": 1000, "freezes": 100})
def run(trial: Trial) -> Findings:
    """Hurt until all faults have been dealt, let everything end, check every rule."""
    return campaign(trial)


def campaign(trial: Trial, kinds: tuple[str, ...] = KINDS, workers: int = WORKERS, live: int = LIVE_JOBS) -> Findings:
    """The same with other amounts: the kinds of jobs, the workers, and how many jobs are kept alive."""
    with open_yard(trial.folder, trial.database, workers) as yard:
        references = run_references(yard, kinds)
        saboteur, began = Saboteur(yard, trial.dice), time.monotonic()
        mine = suffer(yard, saboteur, trial, references, live)
        lasted = time.monotonic() - began
        late = yard.wait(seconds=END_SECONDS)
        evidence = Evidence.of(yard, mine, blind_below=1 if trial.counts["freezes"] else 0)
        findings = Findings(check(evidence), figures(yard, saboteur, evidence, lasted))
    if late:
        findings.violations["the end"] = [f"job {id} had not ended after {END_SECONDS:.0f} s" for id in late]
    if yard.leftovers:
        findings.violations["after the stop"] = [f"still there: {one}" for one in yard.leftovers]
    return findings


def run_references(yard: Yard, kinds: tuple[str, ...] = KINDS) -> dict[str, str]:
    """Run each kind once undisturbed; returns the job's id by kind."""
    found: dict[str, str] = {}
    for _ in range(REFERENCE_TRIES):
        fresh = {kind: yard.submit(kind) for kind in kinds if kind not in found}
        yard.wait(fresh.values())
        # On a busy machine a living holder may be late and lose its job: then this is no reference.
        found |= {kind: id for kind, id in fresh.items() if yard.jobs.get(ADMIN_TENANT, id).attempt == 1}
    missing = set(kinds) - set(found)
    assert not missing, f"no undisturbed run of {', '.join(sorted(missing))}"
    return found


def suffer(yard: Yard, saboteur: Saboteur, trial: Trial, references: dict[str, str], live: int) -> dict[str, str]:
    """Deal all blows in random order, with enough jobs alive all the time; returns each job's reference."""
    deck = saboteur.deck(trial.counts["kills"], trial.counts["freezes"])
    mine: dict[str, str] = {}

    def keep_busy() -> None:
        for _ in range(live - len(yard.live())):
            kind = trial.dice.choice(sorted(references))
            mine[yard.submit(kind)] = references[kind]

    for dealt, (what, target) in enumerate(deck, 1):
        keep_busy()
        while not strike(saboteur, what, target, yard.settings.silent_seconds):
            rest(trial.dice, *REST)
            keep_busy()
        trial.say(dealt, len(deck), f"{len(yard.accepted)} jobs, {yard.keeper.restarts} restarts")
        rest(trial.dice, *REST)
    if trial.counts["freezes"]:
        saboteur.zombie()
    return mine


def strike(saboteur: Saboteur, what: str, target: str, lease: float) -> bool:
    """One kill, or one freeze that outlasts the lease; False while there is nobody to hurt."""
    if what == "kill":
        return saboteur.kill(target)
    return saboteur.freeze(target, lease + saboteur.dice.uniform(*BEYOND_LEASE))


def figures(yard: Yard, saboteur: Saboteur, evidence: Evidence, lasted: float) -> dict[str, Any]:
    """What happened, in numbers."""
    attempts = sum(row["attempt"] for _, row in evidence.known())
    told: dict[str, Any] = {
        "jobs": len(yard.accepted), "attempts": attempts, "kills": saboteur.count("kill"),
        "freezes": saboteur.count("freeze"), "stale writers refused": evidence.refused,
        "metric rows": sum(map(len, evidence.rows["metrics"].values())), "restarts": yard.keeper.restarts,
        "files left to the sweep": len(orphan_files(evidence)),
        "seconds of faults": round(lasted, 1), **tally(saboteur.faults),
    }  # fmt: skip
    for name, seconds in sorted(recoveries(yard, saboteur.faults).items()):
        told[name] = {
            "n": len(seconds),
            "p50": round(quantile(seconds, 0.5), 2),
            "p99": round(quantile(seconds, 0.99), 2),
        }
    return told
