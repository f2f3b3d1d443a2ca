"""A process that stops inside a SQLite transaction is found by its lock, and ended when it is one of ours."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.jobs import JobStore
from services.sql.engine import migrate, open_engine
from services.sql.held import HELD_SECONDS, Held, sight, stopped, writer_of

HOLDER = """
import sqlite3, sys, time
line = sqlite3.connect(sys.argv[1], isolation_level=None)
line.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A database in use."""
    engine = open_engine(f"sqlite:///{tmp_path}/trainyard.db")
    migrate(engine)
    yield tmp_path / "trainyard.db"
    engine.dispose()


@contextmanager
def holder(file: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process with `words` in its command line, stopped in the middle of a transaction."""
    command = [sys.executable, "-c", HOLDER, str(file), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGSTOP)
    end = time.monotonic() + 10
    while not stopped(process.pid) and time.monotonic() < end:
        time.sleep(0.01)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Clock:
    """Time that passes when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_of_ours_is_ended_after_ten_seconds_and_not_before_and_then_others_write(file: Path) -> None:
    clock = Clock()
    held = Held(f"sqlite:///{file}", clock)
    with holder(file, "-m", "workers.main") as process:
        assert writer_of(file) == process.pid
        assert held.look() is None
        clock.now += HELD_SECONDS - 0.1
        assert held.look() is None
        assert process.poll() is None
        clock.now += 0.2
        assert held.look() == process.pid
        assert process.wait(10) == -signal.SIGKILL
    engine = open_engine(f"sqlite:///{file}", busy_seconds=1)
    JobStore(engine).submit("t", {}, {})
    engine.dispose()
    assert writer_of(file) is None


def test_a_stranger_is_named_and_left_alone(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    held = Held(f"sqlite:///{file}", clock)
    with holder(file) as process:
        held.look()
        clock.now += HELD_SECONDS + 1
        assert held.look() is None
        assert process.poll() is None
        assert f"process {process.pid} " in caplog.text
        assert "nobody can write" in caplog.text


def test_who_goes_on_writing_is_never_taken_for_stuck(file: Path) -> None:
    engine, clock = open_engine(f"sqlite:///{file}"), Clock()
    held = Held(f"sqlite:///{file}", clock)
    with holder(file, "workers.main"):
        first = sight(file)
        held.look()
    JobStore(engine).submit("t", {}, {})
    with holder(file, "workers.main") as process:
        clock.now += HELD_SECONDS + 1
        assert sight(file) != first
        assert held.look() is None
        assert process.poll() is None
    engine.dispose()


@pytest.mark.parametrize("database", ["postgresql://trainyard@nowhere/trainyard", "sqlite:////nowhere/trainyard.db"])
def test_there_is_nothing_to_watch_elsewhere(database: str) -> None:
    assert Held(database).look() is None


def test_a_living_process_is_not_stopped_and_a_dead_one_neither() -> None:
    assert not stopped(os.getpid())
    assert not stopped(2**22 + 1)
