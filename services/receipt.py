"""The receipt of a finished job: everything that decides its numbers, as hashes and versions, in a stable order.

Who has two receipts can tell whether spec, data, code, machine and seeds were the same, and whether weights and metrics
came out the same. Nothing of it needs the training stack: versions come from what is installed, not from imports.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from services.jobs import Artifact, Attempt, Document, Job
from services.sql.types import to_json

SCHEMA: Final = "trainyard-receipt/v1"
ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = ("kernels", "services")
"""The rooms whose code decides a job's numbers."""
PACKAGES: Final = {"numpy": "numpy", "numba": "numba", "scikit_learn": "scikit-learn", "gymnasium": "gymnasium"}
CUDA_PACKAGES: Final = {"cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"), "numba_cuda": ("numba-cuda",)}


def environment(device: str, threads: int) -> Document:
    """What an attempt on this machine runs on: our own code, packages, the device's model, CPU threads.

    `device` is the model's name; a package that is not installed is null.
    """
    return {
        "trainyard": installed("trainyard"),
        "source_sha256": source_sha256(),
        "python": platform.python_version(),
        **{name: installed(package) for name, package in PACKAGES.items()},
        **{name: installed(*packages) for name, packages in CUDA_PACKAGES.items()},
        "machine": platform.machine(),
        "device": device,
        "threads": threads,
    }


@cache
def installed(*packages: str) -> str | None:
    """The version of the first of these packages that is installed."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


@cache
def source_sha256(root: Path = ROOT) -> str:
    """SHA-256 over path and content of every Python file that computes; says which code it was without any git."""
    found = hashlib.sha256()
    files = [file for room in SOURCES for file in (root / room).rglob("*.py")]
    for file in sorted(files, key=lambda file: file.relative_to(root).as_posix()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        found.update(f"{file.relative_to(root).as_posix()}\t{content}\n".encode())
    return found.hexdigest()


def canonical_sha256(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document as JSON with sorted keys, no spaces, ASCII only."""
    plain = json.loads(to_json(document))
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def receipt(job: Job, attempts: Sequence[Attempt], artifacts: Sequence[Artifact], metrics: tuple[int, str]) -> Document:
    """The receipt of a finished job; `metrics` are the count and the digest of its committed values.

    Keys always come in this order; `sha256` is over all that stands before it, as `canonical_sha256` has it.
    """
    result = job.result or {}
    written: Document = {
        "schema": SCHEMA,
        "job": job.id,
        "parent": None if job.parent_id is None else {"id": job.parent_id, "origin": job.origin},
        "state": str(job.state),
        "reason": None if job.reason is None else str(job.reason),
        "spec_sha256": canonical_sha256(job.spec),
        "data": data_of(job),
        "seeds": seeds_of(job.spec),
        "environment": attempts[-1].environment if attempts else None,
        "weights_sha256": result.get("weights_sha256"),
        "metrics": {"count": metrics[0], "sha256": metrics[1]},
        "artifacts": [{"name": a.name, "sha256": a.sha256, "size": a.size} for a in artifacts],
        "attempts": [attempt_line(attempt) for attempt in attempts],
    }
    return written | {"sha256": canonical_sha256(written)}


def data_of(job: Job) -> Document:
    """Which data: its name, the hash of the arrays that were trained on, and of an upload's file."""
    dataset = job.spec.get("dataset") or {}
    name = dataset.get("name") or dataset.get("upload") or (job.spec.get("environment") or {}).get("name")
    arrays = (job.data or {}).get("sha256") or (job.result or {}).get("dataset_sha256")
    return {"name": name, "sha256": arrays, "file_sha256": dataset.get("sha256")}


def seeds_of(spec: Mapping[str, Any]) -> Document:
    """The seeds of training (weights, order, dropout) and of the split."""
    split = (spec.get("dataset") or {}).get("split") or {}
    return {"training": (spec.get("training") or {}).get("seed"), "split": split.get("seed")}


def attempt_line(attempt: Attempt) -> Document:
    """One attempt; its environment only as a hash, because they rarely differ."""
    ran = attempt.environment
    return {
        "number": attempt.number,
        "outcome": attempt.outcome,
        "started_at": moment(attempt.started_at),
        "finished_at": None if attempt.finished_at is None else moment(attempt.finished_at),
        "environment_sha256": None if ran is None else canonical_sha256(ran),
    }


def moment(at: Any) -> str:
    """A UTC time as ISO-8601 with milliseconds."""
    return str(at.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
