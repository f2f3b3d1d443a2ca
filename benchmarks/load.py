"""Submits and reads while two jobs train: `python -m benchmarks.load [--seconds 600]`.

The goal: 20 submits and 100 reads a second for ten minutes on two cores with two jobs training; p99 below 250 ms from
the intended start, no answer 5xx. The stack and the generator share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.rush import Readers, Tally, arrivals, keep_to
from benchmarks.stack import Site, site
from benchmarks.wire import Reply, Wire
from services.documents import from_yaml

EXAMPLES = Path(__file__).parents[1] / "examples"
TRAINING_SECONDS = 120.0
EPOCHS_WITHOUT_END = 100_000


def small_job() -> dict[str, Any]:
    """What is submitted again and again."""
    return _example("iris_mlp")


def endless_job() -> dict[str, Any]:
    """What trains meanwhile: a convolutional network on digits with its metrics and checkpoints, until cancelled."""
    spec = _example("digits_cnn")
    spec["training"]["epochs"] = EPOCHS_WITHOUT_END
    spec["training"].pop("early_stopping", None)
    return spec


def _example(name: str) -> dict[str, Any]:
    return dict(from_yaml((EXAMPLES / f"{name}.yaml").read_bytes()))


@contextlib.contextmanager
def watching() -> Iterator[dict[str, float]]:
    """The machine's load average before and after: how much else was going on."""
    busy = {"before": round(os.getloadavg()[0], 1)}
    yield busy
    busy["after"] = round(os.getloadavg()[0], 1)


def measure(seconds: float, submits: float = 20.0, reads: float = 100.0, training: int = 2) -> dict[str, Any]:
    """One run on a stack of its own; what the clients saw, what the API and the trainers took."""
    with site(workers=training) as here:
        ids = _start_training(here, training)
        steps = _steps(here, ids)
        before = _cpu(here)
        found = asyncio.run(_rush(here, ids, seconds, submits, reads))
        used = {name: after - before[name] for name, after in _cpu(here).items()}
        took = [later - earlier for later, earlier in zip(_steps(here, ids), steps, strict=True)]
        with here.client() as client:
            states = [str(client.get(id).state) for id in ids]
        return {**found, "seconds": seconds, "cpu_seconds": used, "training_steps": took, "training": states}


def _start_training(here: Site, count: int) -> list[str]:
    with here.client() as client:
        ids = [client.submit(endless_job()).id for _ in range(count)]
        end = time.monotonic() + TRAINING_SECONDS
        while not all(client.get(id).step for id in ids):
            if time.monotonic() > end:
                raise SystemExit("the jobs do not train")
            time.sleep(0.2)
    return ids


def _steps(here: Site, ids: list[str]) -> list[int]:
    with here.client() as client:
        return [client.get(id).step for id in ids]


def _cpu(here: Site) -> dict[str, float]:
    """Seconds of processor time that each child itself has used; a worker's pool and trainers are not in it."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for name, child in here.children.items():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / tick
    return found


async def _rush(here: Site, training: list[str], seconds: float, submits: float, reads: float) -> dict[str, Any]:
    wire, known = Wire(here.url, here.key), list(training)
    readers, posted, read = Readers(wire, known), Tally(), Tally()
    body, number = json.dumps(small_job()).encode(), iter(range(1 << 30))

    async def submit() -> Reply:
        reply = await wire.ask("POST", "/v1/jobs", body, f"Idempotency-Key: rush-{next(number)}\r\n")
        if reply.status == 202:
            known.append(reply.data["id"])
        return reply

    start = time.monotonic() + 0.5
    await asyncio.gather(
        keep_to(arrivals(submits, seconds, 1), start, submit, posted),
        keep_to(arrivals(reads, seconds, 2), start, readers.read, read),
    )
    wire.close()
    kinds = {name: tally.card() for name, tally in readers.tallies.items()}
    return {"submit": posted.card(), "read": read.card(), "kinds": kinds, "accepted": len(known) - len(training)}


def told(found: dict[str, Any]) -> str:
    """The result as text."""
    lines = [f"{found['seconds']:g} s, {found['accepted']} jobs accepted, training {found['training']}, "
             f"steps {found['training_steps']}, cpu {found['cpu_seconds']}"]  # fmt: skip
    for name in ("submit", "read"):
        lines.append(f"  {name:8} {found[name]}")
    return "\n".join(lines + [f"    {name:8} {card}" for name, card in found["kinds"].items()])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--training", type=int, default=2)
    options = parser.parse_args()
    print(told(measure(options.seconds, training=options.training)))


if __name__ == "__main__":
    main()
