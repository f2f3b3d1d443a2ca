"""Scores of example jobs, run through HTTP: `python -m benchmarks.scores FILE… --machine "CPU, 2 cores" [--save]`.

Each file is posted to the Trainyard that runs here (or at TRAINYARD_API_URL) and followed to its end; a job with the
same task, data, network and training that has succeeded there already is taken instead, for it gives the same bits. One
line each, and with `--save` a file of figures each, named after the example.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from datetime import UTC
from pathlib import Path
from typing import Any

from api.client import Client
from api.session import connected
from services.documents import from_yaml
from services.jobs import TERMINAL
from services.spec import parse_job

RESULTS = Path(__file__).parent / "results"
DECISIVE = ("task", "dataset", "network", "training")
"""The sections of a spec that decide the result, bit for bit, on one kind of device."""

WAIT_SECONDS = 2.0


def digest(spec: dict[str, Any]) -> str:
    """The SHA-256 of a spec's decisive sections, as posted or resolved."""
    sections = json.dumps({name: spec.get(name) for name in DECISIVE}, sort_keys=True)
    return hashlib.sha256(sections.encode()).hexdigest()


def succeeded(client: Client) -> dict[str, Any]:
    """The server's successful jobs by digest."""
    jobs = [client.get(row.id) for row in client.list(state="succeeded")]
    return {digest(job.spec): job for job in jobs}


def run(client: Client, file: Path, known: dict[str, Any]) -> Any:
    """The finished job of a file."""
    text = file.read_text()
    job = known.get(digest(parse_job(text).resolved())) or client.submit(text)
    while job.state not in TERMINAL:
        time.sleep(WAIT_SECONDS)
        job = client.get(job.id)
    return job


def figures(job: Any, example: Path, machine: str) -> dict[str, Any]:
    """What is worth keeping of a finished job. `spec_sha256` is that of the file's text, which new defaults leave as it
    is."""
    result = job.result or {}
    return {
        "example": str(example),
        "state": job.state,
        "spec_sha256": digest(from_yaml(example.read_bytes())),
        "dataset_sha256": result.get("dataset_sha256"),
        "weights_sha256": result.get("weights_sha256"),
        "seed": job.spec["training"]["seed"],
        "parameters": result.get("parameters"),
        "epochs": result.get("epochs"),
        "best_epoch": result.get("best_epoch"),
        "validation": result.get("validation"),
        "test": result.get("test"),
        "naive": result.get("naive"),
        "device": machine,
        "attempts": len(job.attempts),
        "started_at": job.started_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "wall_seconds": round(sum((a.finished_at - a.started_at).total_seconds() for a in job.attempts), 1),
    }


def main() -> None:
    """Run, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--machine", required=True, help="the device in words")
    parser.add_argument("--save", action="store_true", help=f"write files into {RESULTS.name}")
    arguments = parser.parse_args()
    with connected() as client:
        known = succeeded(client)
        for file in arguments.files:
            kept = figures(run(client, file, known), file, arguments.machine)
            print(json.dumps(kept))
            if arguments.save:
                (RESULTS / f"scores-{file.stem}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
