"""The stack on one machine: broker, API and one worker, each a process group of its own, none outliving this one."""

import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, final

from api.bind import check_bind
from api.broker import open_broker
from api.child import Child, wait_until
from services.errors import Conflict, Unavailable
from services.settings import Settings
from services.sql.held import Held

READY_SECONDS = 120.0
LOCK_SECONDS = 0.5
WATCH_SECONDS = 0.5
RESTARTS, RESTART_WINDOW = 5, 60.0
# A worker drains first: its trainers write checkpoints, their jobs go back to the queue.
WORKER_GRACE, API_GRACE = 45.0, 6.0


@final
@dataclass(frozen=True)
class Address:
    """Where a running stack answers and with which key; kept in `server.json`, readable by its owner alone."""

    url: str
    key: str
    broker: str

    @property
    def link(self) -> str:
        """The URL that opens signed in."""
        return f"{self.url}/?token={self.key}"


def find_address(data_dir: Path) -> Address | None:
    """The address of the stack that runs on this data folder; None when none does."""
    if locked(data_dir):
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Address(**json.loads((data_dir / "server.json").read_text()))
    return None


def locked(data_dir: Path) -> bool:
    """Does a living stack hold the data folder? Its lock tells, because the system lifts it however a process ends."""
    with contextlib.suppress(FileNotFoundError), open(data_dir / "stack.lock") as lock:
        return not take(lock, fcntl.LOCK_SH)
    return False


def take(lock: IO[str], kind: int) -> bool:
    """Try to lock an open file without waiting."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_address(data_dir: Path, address: Address) -> None:
    """Publish an address at once and wholly."""
    fresh = data_dir / "server.json.new"
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(address), file)
    fresh.replace(data_dir / "server.json")


@final
class Stack:
    """Broker, API and worker of one data folder. `running` makes one; `mend` keeps it alive."""

    def __init__(self, address: Address, device: str, children: list[Child], database: str | None = None) -> None:
        """Hold what `running` has started, the broker first; `database` is looked after, too."""
        self.address, self.device, self.children = address, device, children
        self._restarts: dict[str, list[float]] = {}
        self._held = None if database is None else Held(database)

    def mend(self) -> None:
        """Start again what has ended by itself, bound the logs; Unavailable when what is needed will not stay up."""
        for child in self.children:
            child.bound_log()
            if child.exit_code is not None:
                self._restart(child)
        if self._held is not None:
            self._held.look()

    def _restart(self, child: Child) -> None:
        now = time.monotonic()
        lately = [at for at in self._restarts.get(child.name, []) if now - at < RESTART_WINDOW]
        if len(lately) < RESTARTS:
            self._restarts[child.name] = [*lately, now]
            child.restart()
        elif child.name != "broker":
            # Without a broker workers look for jobs themselves, so that one is only tried again a little later.
            raise ended(child)


def ended(child: Child) -> Unavailable:
    """The error for a process that does not come up or will not stay up, with the end of its log."""
    code = child.exit_code
    what = "does not get ready" if code is None else f"ended by itself (exit code {code})"
    return Unavailable(f"The {child.name} {what}. The end of {child.log}:\n{child.last_words()}")


@contextlib.contextmanager
def running(settings: Settings, device: str = "auto") -> Iterator[Stack]:
    """Start the stack and wait until it is ready; at the end, however it comes, stop everything in order."""
    settings.prepare()
    with contextlib.ExitStack() as undo:
        try:
            yield start(settings, device_here() if device == "auto" else device, undo)
        finally:
            undo.enter_context(deaf())


def start(settings: Settings, device: str, undo: contextlib.ExitStack) -> Stack:
    """Start all parts; `undo` learns how to stop each one the moment it runs."""
    check_bind(settings)
    undo.enter_context(alone(settings.data_dir))
    listener = undo.enter_context(listen(settings))
    broker = open_broker(settings.redis_url, settings.data_dir)
    undo.callback(broker.stop)
    env = environment(settings, broker.url)
    url = reachable(listener)
    api = python(settings, env, "api", ["api.listen", str(listener.fileno())], fd=listener.fileno())
    undo.callback(api.stop, API_GRACE)
    worker = python(settings, env, "worker", ["workers.main", "--device", device])
    undo.callback(worker.stop, WORKER_GRACE)
    await_ready(url, [api, worker])
    # The API has made it, if this is a new record.
    address = Address(url, (settings.data_dir / "admin_key").read_text().strip(), broker.url)
    undo.callback((settings.data_dir / "server.json").unlink, missing_ok=True)
    write_address(settings.data_dir, address)
    return Stack(address, device, [*([broker.child] if broker.child else []), api, worker], settings.database)


@contextlib.contextmanager
def alone(data_dir: Path) -> Iterator[IO[str]]:
    """Hold the data folder; Conflict when another stack holds it."""
    with open(data_dir / "stack.lock", "w") as lock:
        # Somebody may be looking for a moment whether we run; a stack that runs holds it for good.
        if not wait_until(lambda: take(lock, fcntl.LOCK_EX), LOCK_SECONDS):
            address = find_address(data_dir)
            where = f" at {address.url}" if address else ""
            hint = "Use it, stop it, or choose another folder with TRAINYARD_DATA_DIR."
            raise Conflict(f"Trainyard already runs on {data_dir}{where}.", hint=hint)
        yield lock


def listen(settings: Settings) -> socket.socket:
    """Bind the API's socket here, so that children cannot race for it. Only a port nobody asked for may give way."""
    try:
        return socket.create_server((settings.host, settings.port), backlog=2048)
    except OSError as problem:
        if "port" not in settings.model_fields_set and problem.errno == errno.EADDRINUSE:
            return socket.create_server((settings.host, 0), backlog=2048)
        where = f"{settings.host}:{settings.port}"
        hint = "Choose another one with --port; 0 picks a free one."
        raise Unavailable(f"The API cannot listen on {where}: {problem.strerror}.", hint=hint) from None


def reachable(listener: socket.socket) -> str:
    """The URL of a bound socket as seen from this machine."""
    host, port = listener.getsockname()[:2]
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"


def environment(settings: Settings, redis_url: str) -> dict[str, str]:
    """This environment with every setting written out, so that all processes agree whatever made the settings."""
    values: dict[str, Any] = {**settings.model_dump(), "redis_url": redis_url}
    ours = {f"TRAINYARD_{name.upper()}": str(value) for name, value in values.items()}
    return {**os.environ, **ours, "PYTHONUNBUFFERED": "1"}


def python(settings: Settings, env: dict[str, str], name: str, words: list[str], fd: int | None = None) -> Child:
    """Start one of our modules as a child with its log beside the others."""
    log = settings.data_dir / "logs" / f"{name}.log"
    return Child(name, [sys.executable, "-m", *words], log=log, env=env, fd=fd)


def device_here() -> str:
    """The first NVIDIA GPU when there is one and the CUDA packages are installed; otherwise the CPU."""
    return "gpu:0" if Path("/dev/nvidia0").exists() and importlib.util.find_spec("cupy") else "cpu"


def await_ready(url: str, children: list[Child]) -> None:
    """Wait for /readyz; a child that ends meanwhile, or too long a wait, is Unavailable with the end of a log."""
    wait_until(lambda: is_ready(url) or any(child.exit_code is not None for child in children), READY_SECONDS, 0.05)
    dead = next((child for child in children if child.exit_code is not None), None)
    if dead or not is_ready(url):
        raise ended(dead or children[0])


def is_ready(url: str) -> bool:
    """Does the API say that it can do its work?"""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@contextlib.contextmanager
def handled(handler: signal.Handlers | Callable[..., Any], *numbers: signal.Signals) -> Iterator[None]:
    """Let `handler` have these signals while inside, but for those that nohup and the like have switched off."""
    ours = numbers if threading.current_thread() is threading.main_thread() else ()
    heard = [number for number in ours if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def interruptible() -> contextlib.AbstractContextManager[None]:
    """SIGTERM and a closed terminal act as Ctrl-C does: KeyboardInterrupt, so that everything unwinds."""
    return handled(signal.default_int_handler, signal.SIGTERM, signal.SIGHUP)


def deaf() -> contextlib.AbstractContextManager[None]:
    """No signal interrupts the orderly stop, which is bounded anyway."""
    return handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve_forever(settings: Settings, device: str = "auto") -> None:
    """Run the stack until Ctrl-C, SIGTERM or a closed terminal; Unavailable when a part will not stay up."""
    with contextlib.suppress(KeyboardInterrupt), interruptible(), running(settings, device) as stack:
        print(f"Trainyard runs on {stack.device}. Open\n\n    {stack.address.link}\n")
        print(
            f"Documentation {stack.address.url}/docs · logs {settings.data_dir / 'logs'} · Ctrl-C stops it.", flush=True
        )
        while True:
            time.sleep(WATCH_SECONDS)
            stack.mend()
    print("Everything is stopped.")
