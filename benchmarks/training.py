"""Training steps against PyTorch on the CPU: `python -m benchmarks.training [--rounds N] [--threads T …] [--save]`.

Method: one process per contestant, one active at a time, in turns with rotating order; first the losses of eight steps
from the same weights must agree; then every round gives one paired ratio, and the median and quartiles of the ratios
are shown. Absolute times on a shared machine swing; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.workloads import WORKLOADS

TURN_SECONDS = 0.1
LOSS_TOLERANCE = 1e-3
RESULTS = Path(__file__).parent / "results"


class Contestant:
    """A contestant's process."""

    def __init__(self, name: str, number: int, threads: int, weights: str) -> None:
        command = [sys.executable, "-m", "benchmarks.contestants", name, str(number), str(threads), weights]
        limits = {key: str(threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
        self.name, self.steps = name, 1
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | limits
        )

    def ask(self, line: object) -> Any:
        """Send one line, return the answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def settle(self) -> None:
        """Find how many steps fill one turn."""
        self.ask(1)
        while (seconds := self.ask(self.steps)) < TURN_SECONDS / 2:
            self.steps = max(self.steps + 1, int(self.steps * min(10.0, TURN_SECONDS / max(seconds, 1e-6))))

    def turn(self) -> float:
        """Seconds per step, over one turn."""
        return float(self.ask(self.steps)) / self.steps

    def leave(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)


def measure(number: int, threads: int, rounds: int, names: list[str]) -> dict[str, Any]:
    """One workload: the ratio of every peer's step time to ours."""
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.npz")
        field: list[Contestant] = []
        losses: dict[str, list[float]] = {}
        for name in names:
            field.append(Contestant(name, number, threads, weights))
            losses[name] = field[-1].ask("losses")
        apart = max(abs(a - b) for name in names for a, b in zip(losses[name], losses["trainyard"], strict=True))
        if apart > LOSS_TOLERANCE:
            raise SystemExit(
                f"{WORKLOADS[number].name}: the losses differ by {apart:.2e}; this would compare different work"
            )
        times: dict[str, list[float]] = {name: [] for name in names}
        for contestant in field:
            contestant.settle()
        for k in range(rounds):
            for contestant in field[k % len(field) :] + field[: k % len(field)]:
                times[contestant.name].append(contestant.turn())
        for contestant in field:
            contestant.leave()
    ratios = {
        name: _spread([t / o for t, o in zip(times[name], times["trainyard"], strict=True)]) for name in names[1:]
    }
    seconds = {name: statistics.median(found) for name, found in times.items()}
    return {
        "workload": WORKLOADS[number].name, "threads": threads, "rounds": rounds, "loss_difference": apart,
        "step_seconds": seconds, "ratio": ratios,
    }  # fmt: skip


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"q25": low, "median": middle, "q75": high}


def hardware() -> dict[str, Any]:
    """What the numbers were taken on."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())  # fmt: skip
    packages = ("numpy", "numba", "torch")
    versions = {name: version(name) for name in packages if find_spec(name)}
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "versions": versions}


def main() -> None:
    """Measure, print a table, and keep the results where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/training-<date>.json")
    options = parser.parse_args()
    names = [name for name in CONTESTANTS if name == "trainyard" or find_spec("torch")]
    if len(names) == 1:
        print("PyTorch is not installed: our own times only, no ratios. Install it with: pip install torch")
    results = []
    for threads in options.threads:
        for number in range(len(WORKLOADS)):
            result = measure(number, threads, options.rounds, names)
            results.append(result)
            told = ", ".join(
                f"{name} / ours = {r['median']:.2f} [{r['q25']:.2f}-{r['q75']:.2f}]"
                for name, r in result["ratio"].items()
            )
            step = result["step_seconds"]["trainyard"] * 1e3
            print(
                f"{result['workload']} ({threads} thread{'s' * (threads > 1)}): ours {step:.3f} ms a step; {told}",
                flush=True,
            )
    if options.save:
        taken = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = RESULTS / f"training-cpu-{taken[:10]}.json"
        path.write_text(json.dumps({"taken": taken, "hardware": hardware(), "results": results}, indent=1) + "\n")
        print(f"kept in {path}")


if __name__ == "__main__":
    main()
