"""The parts of `benchmarks.service`, each a function that returns its figures."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from api.broker import free_port, open_broker
from benchmarks.load import endless_job, small_job
from benchmarks.peers import MARK
from benchmarks.rows import add_jobs
from benchmarks.rush import quantiles, spread
from benchmarks.stack import Site, settings_of, site
from benchmarks.wire import Wire
from services.jobs import TERMINAL
from services.lease import Lease
from services.sql.engine import migrate, open_engine
from services.training_job import run as train
from workers.protocol import encode

QUEUES = (10, 1_000, 10_000)
CLAIMS = 40
STREAMS = 100
RECORDED_EPOCHS = 400


def start(jobs: int) -> dict[str, Any]:
    """Seconds from sending the POST until the record says running, and until it holds the metrics of the first step.

    Full batches, so that an epoch is a step; one job at a time on an idle worker, after a few to warm it.
    """
    spec = small_job()
    spec["training"] |= {"batch_size": "full", "epochs": 3}
    times: dict[str, list[float]] = {"posted": [], "running": [], "first_step": [], "finished": []}
    with site() as here, here.client() as client:
        for number in range(jobs + 3):
            began = time.time()
            job = client.submit(spec)
            posted = time.time()
            at = {"posted": posted}
            for event in client.events(job.id):
                name = {"running": "running"}.get(event.data.get("state", ""), "first_step")
                if event.kind in {"state", "metric"} and event.data.get("state") != "queued":
                    at.setdefault("finished" if event.data.get("state") in TERMINAL else name, event.at.timestamp())
            if number >= 3:
                for name, found in times.items():
                    found.append(at[name] - began)
    return {"jobs": jobs} | {name: quantiles(found) for name, found in times.items()}


def drain(jobs: int) -> dict[str, Any]:
    """Tiny jobs (one epoch on iris) a second, from the first start to the last end, with two workers of one thread."""
    spec = small_job() | {"baseline": False}
    spec["training"] |= {"epochs": 1}
    with site(workers=2) as here, here.client() as client:
        client.submit(spec)
        ids = [client.submit(spec).id for _ in range(jobs)]
        for id in reversed(ids):
            for _ in client.events(id):
                pass
        done = list(client.list())[: len(ids)]
        first = min(job.started_at for job in done if job.started_at)
        last = max(job.finished_at for job in done if job.finished_at)
        states = {state: sum(job.state == state for job in done) for state in {job.state for job in done}}
    return {"jobs": jobs, "states": states, "jobs_per_second": round(jobs / (last - first).total_seconds(), 2)}


def claims() -> dict[str, Any]:
    """Milliseconds of one claim on SQLite with so many jobs queued, in turns; then with those for GPUs ahead."""
    with tempfile.TemporaryDirectory() as folder:
        lines = {f"{count:,} queued": _line(Path(folder), count, 0) for count in QUEUES}
        lines["10,000 for GPUs ahead"] = _line(Path(folder), 10, QUEUES[-1])
        times: dict[str, list[float]] = {name: [] for name in lines}
        for _ in range(CLAIMS):
            for name, engine in lines.items():
                began = time.perf_counter()
                lease = Lease.claim(engine, "bench", {"cpu"})
                times[name].append(1e3 * (time.perf_counter() - began))
                assert lease is not None
                lease.fail("internal_error", "measured")
                add_jobs(engine, 1)
        for engine in lines.values():
            engine.dispose()
    return {name: spread(found) for name, found in times.items()}


def _line(folder: Path, jobs: int, ahead: int) -> Any:
    engine = open_engine(f"sqlite:///{folder / f'{jobs}-{ahead}.db'}")
    migrate(engine)
    add_jobs(engine, ahead, device="gpu")
    add_jobs(engine, jobs)
    return engine


def recording(rounds: int) -> dict[str, Any]:
    """Percent of training time that metrics and checkpoints take, at the default of a checkpoint a minute.

    Inside one run: what messages and checkpoints took, with a checkpoint every second so that there are many. Beside
    it, processor time of pairs of runs with and without both, the same steps.
    """
    told, checkpoints, paired = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder) / "warm", False)
        for number in range(rounds):
            runs = {}
            for kept in (True, False) if number % 2 else (False, True):
                runs[kept] = _train(Path(folder) / f"{number}-{kept}", kept)
            told.append(100 * runs[True].messages / runs[True].seconds)
            checkpoints += runs[True].checkpoints
            paired.append(100 * (runs[True].processor / runs[False].processor - 1))
    one = statistics.median(checkpoints)
    return {
        "percent at a checkpoint a minute": round(statistics.median(told) + 100 * one / 60, 3),
        "percent at a checkpoint a second": round(statistics.median(told) + 100 * one, 3),
        "metrics and progress, percent": spread(told),
        "one checkpoint, ms": round(1e3 * one, 2),
        "paired, percent of processor time": spread(paired),
    }


@final
@dataclass
class Run:
    """Seconds of training: in all, for messages, for each checkpoint, and of the processor."""

    seconds: float = 0.0
    messages: float = 0.0
    checkpoints: list[float] = field(default_factory=list)
    processor: float = 0.0


def _train(folder: Path, kept: bool) -> Run:
    """Train once, with or without checkpoints and messages."""
    spec = endless_job() | {"baseline": False, "reliability": {"checkpoint_every": 1 if kept else 1e9}}
    spec["training"] |= {"epochs": RECORDED_EPOCHS}
    datasets = settings_of(folder).datasets_dir
    messages: Iterator[dict[str, Any]] = train(spec, folder, None, "cpu", 1, datasets, lambda: False)
    run, begun, processor = Run(), 0.0, 0.0
    with open(os.devnull, "wb", buffering=0) as pipe:
        while True:
            asked = time.perf_counter()
            message = next(messages)
            said = time.perf_counter()
            if message.get("phase") == "training":
                run, begun, processor = Run(), said, time.process_time()
            if message.get("phase") == "finalising":
                run.seconds, run.processor = said - begun, time.process_time() - processor
                return run
            if message["type"] == "checkpoint":
                run.checkpoints.append(said - asked)
            if kept:
                pipe.write(encode(message))
                run.messages += time.perf_counter() - said


def memory(requests: int) -> dict[str, Any]:
    """Megabytes of the API process as requests are served, then as 100 streams come and go, five times."""
    with site(workers=0) as here:
        return asyncio.run(_memory(here, requests))


async def _memory(here: Site, requests: int) -> dict[str, Any]:
    wire, body = Wire(here.url, here.key), json.dumps(small_job()).encode()
    ids = [(await wire.ask("POST", "/v1/jobs", body)).data["id"] for _ in range(STREAMS)]
    found = {"at first": _resident(here)}
    kinds = [f"/v1/jobs/{ids[0]}", "/v1/jobs?limit=50", f"/v1/jobs/{ids[1]}/metrics", "/v1/queue"]

    async def some(count: int) -> None:
        for number in range(count):
            await (wire.ask("GET", kinds[number % 4]) if number % 5 else wire.ask("POST", "/v1/jobs", body))

    for part in range(1, 6):
        await asyncio.gather(*(some(requests // 40) for _ in range(8)))
        found[f"after {part * (requests // 40) * 8:,} requests"] = _resident(here)
    for turn in range(1, 6):
        lines = [await wire.stream(f"/v1/jobs/{id}/events") for id in ids]
        await asyncio.sleep(1)
        found[f"{STREAMS} streams, turn {turn}"] = _resident(here)
        for _, writer in lines:
            writer.close()
        await asyncio.sleep(1)
    found["at last"] = _resident(here)
    wire.close()
    return {"megabytes": found}


def _resident(here: Site) -> float:
    pages = int(Path(f"/proc/{here.children['api'].pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def peers(rounds: int) -> dict[str, Any]:
    """Our submit and read beside a bare FastAPI with two inserts; our start beside a bare Celery round trip."""
    with bare_server() as port, site() as here, tempfile.TemporaryDirectory() as folder:
        bare, ours = Wire(f"http://127.0.0.1:{port}", ""), Wire(here.url, here.key)
        found = asyncio.run(_compare(bare, ours, rounds))
        return found | {"bare_celery_round_trip_ms": round(1e3 * _celery(Path(folder)), 2)}


async def _compare(bare: Wire, ours: Wire, rounds: int) -> dict[str, Any]:
    body, count = json.dumps(small_job()).encode(), 100
    id = (await ours.ask("POST", "/v1/jobs", body)).data["id"]
    asks = {
        "bare FastAPI, insert": (bare, "POST", "/", body), "our submit": (ours, "POST", "/v1/jobs", body),
        "bare FastAPI, read": (bare, "GET", "/", b""), "our job": (ours, "GET", f"/v1/jobs/{id}", b""),
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(rounds):
        for name, (wire, method, path, sent) in asks.items():
            began = time.perf_counter()
            for _ in range(count):
                await wire.ask(method, path, sent)
            times[name].append((time.perf_counter() - began) / count)
    ours.close()
    bare.close()
    medians = {f"{name}, ms": round(1e3 * statistics.median(found), 2) for name, found in times.items()}
    submit = [a / b for a, b in zip(times["our submit"], times["bare FastAPI, insert"], strict=True)]
    read = [a / b for a, b in zip(times["our job"], times["bare FastAPI, read"], strict=True)]
    return medians | {"our submit / bare": spread(submit), "our read / bare": spread(read)}


@contextmanager
def bare_server() -> Iterator[int]:
    """The bare FastAPI in a process of its own; gives its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "benchmarks.peers", "insert", str(port), folder]
        with subprocess.Popen(words) as server:
            try:
                _await_port(port)
                yield port
            finally:
                server.kill()


def _await_port(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _celery(folder: Path) -> float:
    """The median round trip of Celery's own task through a Redis, one worker process."""
    broker = open_broker("", folder)
    env = {**os.environ, MARK: broker.url}
    words = [sys.executable, "-m", "celery", "-A", "benchmarks.peers:tasks", "worker", "-c", "1", "-l", "error"]
    try:
        with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as worker:
            asked = [sys.executable, "-m", "benchmarks.peers", "trips", "200"]
            try:
                return float(subprocess.run(asked, env=env, capture_output=True, text=True, check=True).stdout)
            finally:
                worker.terminate()
    finally:
        broker.stop()
