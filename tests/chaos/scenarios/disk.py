"""The disk is full and has space again, under the artifacts or under everything, while jobs train and are posted."""

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from api.wire import Refused, Unreachable
from services.keys import ADMIN_TENANT
from tests.chaos.quick import USUAL, concluded, moment, spread
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.scenarios.kills import run_references
from tests.chaos.yard import Yard, open_yard

KINDS: Final = ("digits", "agent")
MEBIBYTE: Final = 1 << 20
ARTIFACT_VOLUME, DATA_VOLUME = 256, 320
"""Sizes in MiB: room for every file of the scenario, little enough to be filled at once."""
FULL_SECONDS: Final = 15.0
GOAL: Final = 60.0


@scenario("disk", "the artifact or the data volume full, then not", counts={"fills": 6}, databases=("sqlite",))
def run(trial: Trial) -> Findings:
    """Half of the fills hit the artifacts alone, the others database, logs and artifacts together."""
    findings = Findings()
    for place in ("artifacts", "everything"):
        folder = trial.folder / place
        volume = folder / ("files" if place == "artifacts" else "yard")
        volume.mkdir(parents=True)
        size = ARTIFACT_VOLUME if place == "artifacts" else DATA_VOLUME
        try:
            with mounted(volume, size):
                one = _one_volume(trial, place, folder, volume)
        except PermissionError as problem:
            return Findings({}, {"left out": str(problem)})
        findings.violations |= {f"{place}: {rule}": words for rule, words in one.violations.items()}
        findings.figures |= {f"{place}: {name}": value for name, value in one.figures.items()}
    return findings


def _one_volume(trial: Trial, place: str, folder: Path, volume: Path) -> Findings:
    more = {"artifacts_url": str(volume)} if place == "artifacts" else {}
    mine: dict[str, str] = {}
    recovered: list[float] = []
    answers: Counter[str] = Counter()
    with open_yard(folder, trial.database, **USUAL, **more) as yard:
        references = run_references(yard, KINDS)
        fills = max(1, trial.counts["fills"] // 2)
        for number in range(1, fills + 1):
            while len(yard.live()) < 2:
                kind = trial.dice.choice(KINDS)
                mine[yard.submit(kind)] = references[kind]
            _until_training(yard)
            with full(volume):
                end = time.monotonic() + FULL_SECONDS
                while time.monotonic() < end:
                    answers.update([_posted(yard, number)])
                    time.sleep(0.05 if place == "everything" else 1.0)
            recovered.append(_recovery(yard))
            trial.say(number, fills, f"{place}: recovered after {recovered[-1]:.1f} s")
        bad = [f"{n} posts answered {word}" for word, n in answers.items() if word not in {"202", "507", "503"}]
        if place == "everything" and not answers["507"]:
            bad.append("no post was answered 507: the disk was not full for the database")
        slow = [f"recovered after {seconds:.1f} s" for seconds in recovered if seconds > GOAL]
        figures: dict[str, Any] = {
            "fills": fills, "jobs": len(yard.accepted), "space back to a model kept, s": spread(recovered),
            **{f"posts answered {word}": n for word, n in sorted(answers.items())},
            "checkpoints put off": yard_logs(yard).count("no checkpoint of this step"),
            "waits for space": _waits(yard),
        }  # fmt: skip
        return concluded(yard, figures, {"posts are answered rightly": bad, "recovers in time": slow}, references=mine)


def yard_logs(yard: Yard) -> str:
    """The log lines of all jobs."""
    return "\n".join(
        str(event.data.get("text")) for id in yard.accepted for event in yard.jobs.logs(ADMIN_TENANT, id, limit=10_000)
    )


def _waits(yard: Yard) -> int:
    """Attempts that ended because of the disk."""
    tries = (one for id in yard.accepted for one in yard.jobs.attempts(ADMIN_TENANT, id))
    return sum("space" in (one.message or "") for one in tries)


def _until_training(yard: Yard) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if any(yard.jobs.get(ADMIN_TENANT, id).phase == "training" for id in yard.live()):
            return
        time.sleep(0.05)


def _posted(yard: Yard, number: int) -> str:
    """Post once; the status of the answer. What was acknowledged must not be lost."""
    try:
        yard.accepted.append(yard.client.submit(moment(number)).id)
    except Refused as refused:
        return str(refused.problem.status)
    except Unreachable:
        return "nobody"
    return "202"


def _recovery(yard: Yard) -> float:
    """Seconds from now until a post is acknowledged again and another model has been kept."""
    began, before = time.monotonic(), _succeeded(yard)
    yard.submit(moment())
    while _succeeded(yard) == before and time.monotonic() - began < 3 * GOAL:
        time.sleep(0.05)
    return time.monotonic() - began


def _succeeded(yard: Yard) -> int:
    return list(yard.states().values()).count("succeeded")


@contextlib.contextmanager
def mounted(folder: Path, mebibytes: int) -> Iterator[None]:
    """A small disk of its own at `folder`; PermissionError where this machine lets nobody mount."""
    told = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if told.returncode != 0:
        raise PermissionError(f"nothing can be mounted here: {told.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextlib.contextmanager
def full(volume: Path) -> Iterator[None]:
    """Not one byte is left on `volume`."""
    ballast = volume / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(MEBIBYTE))
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()
