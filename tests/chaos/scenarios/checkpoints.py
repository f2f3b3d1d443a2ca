"""Checkpoints spoilt on the disk while their jobs wait for another try: caught, the one before taken, bit-equal."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import RowMapping, select

from services.keys import ADMIN_TENANT
from services.sql.engine import reading
from services.sql.schema import checkpoints
from tests.chaos.processes import hit
from tests.chaos.quick import concluded
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.scenarios.kills import run_references
from tests.chaos.yard import Yard, open_yard

KINDS: Final = ("digits", "agent")
PATIENCE: Final = 60.0
Spoil = Callable[[Path, random.Random, list[Path]], None]


@scenario("checkpoints", "files of checkpoints spoilt between two attempts", counts={"rounds": 8})
def run(trial: Trial) -> Findings:
    """Let a job write checkpoints, kill its trainer, spoil the newest or all of them while it waits; see it end."""
    mine: dict[str, str] = {}
    spoilt: Counter[str] = Counter()
    with open_yard(trial.folder, trial.database, silent_seconds=5.0) as yard:
        references = run_references(yard, KINDS)
        for number in range(1, trial.counts["rounds"] + 1):
            kind = trial.dice.choice(KINDS)
            id = yard.submit(kind)
            mine[id] = references[kind]
            if _cut(yard, id):
                spoil = trial.dice.choice(list(SPOIL))
                files = _files(yard, id)
                every = trial.dice.random() < 0.3
                others = [file for other in yard.accepted for file in _files(yard, other) if other != id]
                for file in files if every else files[:1]:
                    SPOIL[spoil](file, trial.dice, others)
                spoilt[f"all {spoil}" if every else spoil] += 1
            yard.wait([id], seconds=PATIENCE)
            trial.say(number, trial.counts["rounds"], f"{sum(spoilt.values())} spoilt")
        yard.wait()
        said = [
            event.data["text"] for id in mine for event in yard.jobs.logs(ADMIN_TENANT, id, limit=10_000)
            if " is damaged; " in str(event.data.get("text"))
        ]  # fmt: skip
        silent = [f"{sum(spoilt.values())} spoilt, {len(said)} said so"] if len(said) < sum(spoilt.values()) else []
        figures: dict[str, Any] = {
            "rounds": trial.counts["rounds"], **dict(sorted(spoilt.items())), "said so in the log": len(said),
            "back to the beginning": sum("from the beginning" in text for text in said),
        }  # fmt: skip
        return concluded(yard, figures, {"damage is said": silent}, references=mine)


def _rows(yard: Yard, id: str) -> list[RowMapping]:
    newest = select(checkpoints).where(checkpoints.c.job == id).order_by(checkpoints.c.step.desc())
    with reading(yard.engine) as connection:
        return list(connection.execute(newest).mappings())


def _files(yard: Yard, id: str) -> list[Path]:
    return [yard.store.resolve(row["path"]) for row in _rows(yard, id)]


def _cut(yard: Yard, id: str) -> bool:
    """Kill the trainer once the job has two checkpoints; whether it waits in the queue now."""
    end = time.monotonic() + PATIENCE
    while len(_rows(yard, id)) < 2 and time.monotonic() < end:
        if yard.jobs.get(ADMIN_TENANT, id).terminal:
            return False
        time.sleep(0.02)
    for one in yard.roles("trainer"):
        hit(one.pid, signal.SIGKILL)
    while (state := yard.jobs.get(ADMIN_TENANT, id).state) == "running" and time.monotonic() < end:
        time.sleep(0.02)
    return state == "queued"


def _truncate(file: Path, dice: random.Random, _others: list[Path]) -> None:
    file.write_bytes(file.read_bytes()[: dice.randrange(file.stat().st_size)])


def _flip(file: Path, dice: random.Random, _others: list[Path]) -> None:
    data = bytearray(file.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    file.write_bytes(bytes(data))


def _remove(file: Path, _dice: random.Random, _others: list[Path]) -> None:
    file.unlink()


def _swap(file: Path, dice: random.Random, others: list[Path]) -> None:
    there = [other for other in others if other.exists()]
    file.write_bytes(dice.choice(there).read_bytes() if there else b"")


SPOIL: Final[dict[str, Spoil]] = {
    "truncated": _truncate, "bit flipped": _flip, "missing": _remove, "another job's": _swap,
}  # fmt: skip
