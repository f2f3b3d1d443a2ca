"""What the training doctor costs: `python -m benchmarks.diagnose [--rounds N] [--epochs E] [--save]`.

Method: whole jobs on MNIST with the networks of `benchmarks.workloads`, with and without the doctor, in one process
and in turns whose order alternates. Measured is the processor's time from the first step to the last, with all that a
job does in between (metrics, validation, messages); unlike the clock's, it does not count the work of others. Every
round gives one paired ratio; median and quartiles are shown. What the doctor does once, before the first step, is shown
beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.training import RESULTS, hardware
from benchmarks.workloads import WORKLOADS, Workload
from services import training_job
from services.diagnose import Doctor
from services.spec import parse_job

FRACTIONS = (0.1, 1.0, 0.05, 0.1)
"""How much of MNIST an epoch has, by workload: 5,400, 844, 2,700 and 84 steps. The fewer, the more a look weighs."""


def spec_of(work: Workload, fraction: float, epochs: int, watched: bool) -> dict[str, Any]:
    """The workload as a resolved job on MNIST."""
    flat = [{"type": "flatten"}] if len(work.shape) == 1 else []
    return parse_job({
        "task": "classification",
        "dataset": {
            "name": "mnist", "train_fraction": fraction,
            "preprocessing": [{"type": "rescaling", "scale": 1 / 255}],
        },
        "network": {"layers": [*flat, *work.layers]},
        "training": {
            "loss": "sparse_categorical_crossentropy",
            "optimizer": {"type": work.optimizer, "learning_rate": work.rate},
            "batch_size": work.batch, "epochs": epochs, "seed": 1,
        },
        "reliability": {"checkpoint_every": "1h"}, "baseline": False, "diagnostics": watched,
    }).resolved()  # fmt: skip


def loop_seconds(spec: dict[str, Any], data: Path) -> tuple[float, str]:
    """Seconds of computing from the first step to the last, and the digest of the weights."""
    began = ended = 0.0
    digest = ""
    with tempfile.TemporaryDirectory() as folder:
        for message in training_job.run(spec, Path(folder), None, "cpu", 1, data, lambda: False):
            if message["type"] == "phase" and message["phase"] == "training":
                began = time.process_time()
            if message["type"] == "phase" and message["phase"] == "finalising":
                ended = time.process_time()
            if message["type"] == "done":
                digest = message["result"]["weights_sha256"]
    return ended - began, digest


def measure(work: Workload, fraction: float, rounds: int, epochs: int, data: Path) -> dict[str, Any]:
    """One workload: time with the doctor over time without, in percent more."""
    once: list[float] = []
    admit = Doctor.admit

    def timed(self: Doctor, *args: Any) -> Any:
        began = time.process_time()
        said = list(admit(self, *args))
        once.append(time.process_time() - began)
        return iter(said)

    Doctor.admit = timed  # type: ignore[method-assign, assignment]
    more, without, digests = [], [], set()
    for number in range(rounds + 1):
        order = (True, False) if number % 2 else (False, True)
        found = {watched: loop_seconds(spec_of(work, fraction, epochs, watched), data) for watched in order}
        digests |= {digest for _, digest in found.values()}
        if number:
            # The first round compiles what is new and warms the disk's cache.
            more.append(100 * (found[True][0] / found[False][0] - 1))
            without.append(found[False][0])
    Doctor.admit = admit  # type: ignore[method-assign]
    if len(digests) != 1:
        raise SystemExit(f"{work.name}: the doctor changed the weights")
    low, middle, high = statistics.quantiles(more, n=4)
    return {
        "workload": work.name, "fraction": fraction, "epochs": epochs, "rounds": rounds,
        "seconds_without": statistics.median(without),
        "percent_more": {"q25": low, "median": middle, "q75": high}, "once_seconds": max(once),
    }  # fmt: skip


def main() -> None:
    """Measure, print, and keep the results where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/diagnose-<date>.json")
    options = parser.parse_args()
    data, results = Path(os.environ.get("TRAINYARD_DATASETS_DIR", "data")), []
    for work, fraction in zip(WORKLOADS, FRACTIONS, strict=True):
        found = measure(work, fraction, options.rounds, options.epochs, data)
        results.append(found)
        spread = found["percent_more"]
        print(
            f"{work.name}: {spread['median']:+.2f} % [{spread['q25']:+.2f} … {spread['q75']:+.2f}] of"
            f" {found['seconds_without']:.2f} s; before the first step {1e3 * found['once_seconds']:.0f} ms",
            flush=True,
        )
    if options.save:
        taken = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = RESULTS / f"diagnose-cpu-{taken[:10]}.json"
        path.write_text(json.dumps({"taken": taken, "hardware": hardware(), "results": results}, indent=1) + "\n")
        print(f"kept in {path}")


if __name__ == "__main__":
    main()
