"""Engines for these tests: instead of training, they do what `spec["play"]` says. Never part of the product."""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from services.errors import StorageFull
from services.keeping import CheckpointUnreadable

Say = dict[str, Any]


def _file(folder: Path, name: str, data: bytes) -> Say:
    (folder / name).write_bytes(data)
    return {"path": str(folder / name), "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def run(
    spec: Say,
    folder: Path,
    resume: Path | None,
    device: str,
    threads: int,
    datasets_dir: Path,
    stop: Callable[[], bool],
) -> Iterator[Say]:
    """Play the part that the spec names."""
    yield from globals()[f"play_{spec['play']}"](spec, folder, resume, stop, (device, threads, datasets_dir))


def play_train(spec: Say, folder: Path, resume: Path | None, stop: Callable[[], bool], where: Any) -> Iterator[Say]:
    """Count to `steps`, with a checkpoint every `every` steps; the model is the list of numbers counted."""
    steps, pause, every = spec.get("steps", 5), spec.get("pause", 0.0), spec.get("every", 2)
    seen = [int(word) for word in resume.read_text().split()] if resume else []
    yield {"type": "phase", "phase": "loading"}
    yield {"type": "data", "data": {"name": "numbers", "threads": where[1], "device": where[0]}}
    yield {"type": "phase", "phase": "training"}
    print("training begins \x1b[31mred\x1b[0m")
    rows: list[tuple[int, str, float]] = []
    reason = "completed"
    for step in range(len(seen) + 1, steps + 1):
        time.sleep(pause)
        seen.append(step)
        rows.append((step, "loss", 1.0 / step))
        yield {"type": "metrics", "step": step, "epoch": 1, "values": {"loss": 1.0 / step}}
        yield {"type": "progress", "step": step, "total_steps": steps, "epoch": 1, "eta_seconds": 0.5}
        if step % every == 0 or stop.checkpoint_wanted():  # type: ignore[attr-defined]
            written = _file(folder, f"step{step}", " ".join(map(str, seen)).encode())
            yield {"type": "checkpoint", "step": step, "metrics": rows, **written}
            rows = []
        if spec.get("die_at") == step and resume is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if stop():
            reason = "stopped_by_user"
            break
    yield {"type": "phase", "phase": "finalising"}
    model = _file(folder, "model", " ".join(map(str, seen)).encode())
    yield {
        "type": "done", "reason": reason, "result": {"steps": len(seen)}, "metrics": rows,
        "artifacts": [{"name": "model", **model}],
    }  # fmt: skip


def play_forever(spec: Say, folder: Path, *_: Any) -> Iterator[Say]:
    """Train on and on, deaf to everything; a child of its own runs along."""
    yield {"type": "phase", "phase": "training"}
    child = os.fork()
    if child == 0:
        time.sleep(600)
    # Whoever waits for the file finds it whole, and no longer open here.
    (folder / "pids.new").write_text(f"{os.getpid()} {child}")
    (folder / "pids.new").rename(folder / "pids")
    for step in range(1, 10**9):
        yield {"type": "progress", "step": step, "total_steps": 10**9, "epoch": 1, "eta_seconds": None}
        time.sleep(0.05)


def play_hang(*_: Any) -> Iterator[Say]:
    """Begin, then never say another word."""
    yield {"type": "phase", "phase": "training"}
    time.sleep(600)


def play_chatter(*_: Any) -> Iterator[Say]:
    """Say things, but never take another step."""
    yield {"type": "phase", "phase": "training"}
    while True:
        yield {"type": "log", "level": "info", "text": "still here"}
        time.sleep(0.05)


def play_raise(spec: Say, *_: Any) -> Iterator[Say]:
    """Fail with an exception."""
    yield {"type": "phase", "phase": "loading"}
    raise {"memory": MemoryError, "value": ValueError}[spec["error"]]("the trace goes to the log")


def play_fail(*_: Any) -> Iterator[Say]:
    """Fail in an orderly way, after a metric that is no number."""
    yield {"type": "metrics", "step": 1, "epoch": 1, "values": {"loss": float("nan")}}
    yield {"type": "failed", "reason": "diverged", "message": "The loss is no number."}


def play_die(spec: Say, *_: Any) -> Iterator[Say]:
    """Die at once."""
    yield {"type": "phase", "phase": "training"}
    os._exit(spec.get("status", 3))


def play_grow(spec: Say, *_: Any) -> Iterator[Say]:
    """Take more and more memory, in pieces of `megabytes`, until something stops it."""
    yield {"type": "phase", "phase": "training"}
    held: list[bytes] = []
    while True:
        held.append(b"x" * (spec["megabytes"] << 20))
        time.sleep(spec.get("pause", 0.0))


def play_crowded(*_: Any) -> Iterator[Say]:
    """Find the memory taken by others, in the words of CuPy."""
    yield {"type": "phase", "phase": "loading"}
    so_far = "(allocated so far: 2,048 bytes, limit set to: 1,000,000 bytes)"
    raise MemoryError(f"the GPU has no room for (9,) float32: Out of memory allocating 1,024 bytes {so_far}.")


def play_garbage(spec: Say, *_: Any) -> Iterator[Say]:
    """Write something that is no message onto the protocol pipe, then go on."""
    yield {"type": "phase", "phase": "training"}
    os.write(3, bytes.fromhex(spec["bytes"]))
    time.sleep(600)


def play_noise(spec: Say, *_: Any) -> Iterator[Say]:
    """Print one enormous line, then very many lines."""
    yield {"type": "phase", "phase": "training"}
    for _megabyte in range(spec["megabytes"]):
        sys.stdout.write("x" * 1_000_000)
    print("\nand more")
    for number in range(spec["lines"]):
        print(f"line {number}")
    sys.stdout.flush()
    yield {"type": "done", "reason": "completed", "result": {}, "artifacts": []}


def play_lie(spec: Say, folder: Path, *_: Any) -> Iterator[Say]:
    """Claim a model that is not what was written, or that lies elsewhere."""
    file = {"name": "model", **_file(folder, "model", b"weights")}
    file |= spec["claim"]
    yield {"type": "done", "reason": "completed", "result": {}, "artifacts": [file]}


def play_refuse_to_resume(spec: Say, folder: Path, resume: Path | None, *_: Any) -> Iterator[Say]:
    """Write a checkpoint and die; refuse to go on from it; do well without it the second time."""
    yield {"type": "phase", "phase": "training"}
    if resume is not None:
        raise CheckpointUnreadable
    if (folder.parent / "a2").exists():
        yield {"type": "done", "reason": "completed", "result": {}, "artifacts": []}
        return
    yield {"type": "checkpoint", "step": 2, "metrics": [], **_file(folder, "step2", b"1 2")}
    os.kill(os.getpid(), signal.SIGKILL)


def play_full(*_: Any) -> Iterator[Say]:
    """Find the disk full."""
    yield {"type": "phase", "phase": "finalising"}
    raise StorageFull
