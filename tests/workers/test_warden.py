"""A pool process that is stopped for good gives its place up."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.sql.held import stopped
from tests.workers.conftest import until
from workers.warden import Warden, children


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A child that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_stopped_pool_process_is_ended_after_twice_the_silence(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    clock = Clock()
    warden = Warden(f"sqlite:///{tmp_path}/none.db", 45.0, clock=clock)
    assert sleeper.pid in children()
    warden.round()
    sleeper.send_signal(signal.SIGSTOP)
    until(lambda: stopped(sleeper.pid), 10)
    warden.round()
    clock.now += 89
    warden.round()
    assert sleeper.poll() is None
    clock.now += 2
    warden.round()
    assert sleeper.wait(10) == -signal.SIGKILL


def test_one_that_goes_on_in_time_is_forgiven(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    clock = Clock()
    warden = Warden(f"sqlite:///{tmp_path}/none.db", 30.0, lambda: [sleeper.pid], clock)
    for _ in range(3):
        os.kill(sleeper.pid, signal.SIGSTOP)
        until(lambda: stopped(sleeper.pid), 10)
        warden.round()
        clock.now += 50
        os.kill(sleeper.pid, signal.SIGCONT)
        until(lambda: not stopped(sleeper.pid), 10)
        warden.round()
    assert sleeper.poll() is None
