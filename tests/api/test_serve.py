"""The stack: starts whole, says where it is, heals, and leaves nothing behind however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api import serve
from api.child import wait_until
from api.client import Client
from api.serve import Stack, find_address, running
from services.errors import Conflict, Unavailable
from services.settings import Settings

STARTED = 60.0
STOPPED = 30.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def processes(folder: Path) -> set[int]:
    """Every living process whose environment or command line names the data folder."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(folder).encode() in words and state != "Z":
            found.add(int(place.name))
    return found


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`trainyard serve` as a user starts it, up and running, with its data in `tmp_path`."""
    env = {**os.environ, "TRAINYARD_DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as launcher:
        assert wait_until(lambda: bool(find_address(tmp_path)) or launcher.poll() is not None, STARTED)
        assert launcher.poll() is None, launcher.stdout and launcher.stdout.read()
        yield launcher
        launcher.kill()


def test_it_answers_its_owner_and_a_worker_reports(stack: Stack, client: Client) -> None:
    assert wait_until(lambda: bool(client.workers()), STARTED, 0.2)
    assert [worker.device.kind for worker in client.workers()] == ["cpu"]
    assert stack.address.link == f"{stack.address.url}/?token={stack.address.key}"


def test_its_address_is_published_for_its_owner_alone(stack: Stack) -> None:
    folder = next(child.log.parents[1] for child in stack.children)
    file = folder / "server.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(file.read_text())) == {"url", "key", "broker"}
    assert find_address(folder) == stack.address


def test_a_second_one_on_the_same_folder_is_refused_and_told_where_the_first_is(stack: Stack) -> None:
    folder = next(child.log.parents[1] for child in stack.children)
    with pytest.raises(Conflict, match=stack.address.url), running(Settings(_env_file=None, data_dir=folder, port=0)):
        pass


def test_what_is_killed_starts_again_on_the_same_address(stack: Stack, client: Client) -> None:
    api = next(child for child in stack.children if child.name == "api")
    old = api.pid
    os.kill(old, signal.SIGKILL)
    assert wait_until(lambda: api.exit_code is not None, STOPPED)
    stack.mend()
    assert api.pid != old
    assert wait_until(lambda: serve.is_ready(stack.address.url), STARTED, 0.2)
    assert list(client.list()) is not None


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_in_order(launched: subprocess.Popen[str], tmp_path: Path, number: int) -> None:
    assert wait_until(lambda: len(processes(tmp_path)) >= 4, STARTED), "launcher, API, worker and its pool"
    launched.send_signal(number)
    text, _ = launched.communicate(timeout=STOPPED)
    assert launched.returncode == 0, text
    assert "/?token=ty_" in text
    assert text.rstrip().endswith("Everything is stopped.")
    assert wait_until(lambda: not processes(tmp_path), 5.0)
    assert find_address(tmp_path) is None


@linux
def test_nothing_outlives_a_killed_launcher(launched: subprocess.Popen[str], tmp_path: Path) -> None:
    launched.kill()
    assert wait_until(lambda: not processes(tmp_path), STOPPED, 0.2), processes(tmp_path)
    assert find_address(tmp_path) is None


@linux
def test_a_part_that_will_not_start_is_quoted_and_the_others_are_stopped(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0)
    with pytest.raises(Unavailable, match="worker ended by itself"), running(settings, "gpu:99"):
        pass
    assert wait_until(lambda: processes(tmp_path) <= {os.getpid()}, 5.0)


def test_a_port_that_was_asked_for_must_be_free(settings: Settings, taken: int) -> None:
    with pytest.raises(Unavailable, match="cannot listen") as found:
        serve.listen(settings.model_copy(update={"port": taken}))
    assert "--port" in str(found.value.hint)


def test_the_usual_port_gives_way_when_somebody_has_it(tmp_path: Path, taken: int) -> None:
    usual = Settings.model_construct(host="127.0.0.1", port=taken, _fields_set=set())
    with serve.listen(usual) as listener:
        assert listener.getsockname()[1] != taken


def test_a_part_that_keeps_dying_is_given_up(stack: Stack, tmp_path: Path) -> None:
    child = serve.Child("worker", [sys.executable, "-c", "print('no memory')"], log=tmp_path / "log", env=os.environ)
    mended = Stack(stack.address, "cpu", [child])

    def mend_for_ever() -> None:
        while True:
            wait_until(lambda: child.exit_code is not None, 5.0)
            mended.mend()

    with pytest.raises(Unavailable, match="no memory"):
        mend_for_ever()


def test_a_broker_that_keeps_dying_takes_nothing_else_along(stack: Stack, tmp_path: Path) -> None:
    child = serve.Child("broker", [sys.executable, "-c", ""], log=tmp_path / "log", env=os.environ)
    mended = Stack(stack.address, "cpu", [child])
    for _ in range(2 * serve.RESTARTS):
        wait_until(lambda: child.exit_code is not None, 5.0)
        mended.mend()
    child.stop()


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    seen: list[Callable[..., object] | int | None] = []

    def look() -> None:
        with serve.interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]
