"""Parts of a running stack that can be hurt, and the keeper that starts them again as a service manager would."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, final

from api.child import Child
from tests.chaos.processes import below, hit

LOOK_SECONDS: Final = 0.05


@final
class Keeper:
    """Starts dead parts again and thaws frozen processes, in a thread that asks neither database nor broker anything.

    A part that ended although nobody hurt it is remembered in `surprises`.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.parts: dict[str, Part] = {}
        self.surprises: list[str] = []
        self.restarts = 0
        self._thaws: list[tuple[float, int]] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        # Parts end with the thread that started them, so this one lasts until the yard has stopped them all.
        self._thread = threading.Thread(target=self._watch, name="keeper", daemon=True)
        self._thread.start()

    def adopt(self, name: str, child: Child) -> "Part":
        """Take a running program into care."""
        self.parts[name] = Part(name, child, self)
        return self.parts[name]

    def freeze(self, pid: int, seconds: float) -> bool:
        """Stop a process now, let it go on later; False when it has gone."""
        try:
            handle = os.pidfd_open(pid)
            signal.pidfd_send_signal(handle, signal.SIGSTOP)
        except ProcessLookupError:
            return False
        with self._lock:
            self._thaws.append((time.monotonic() + seconds, handle))
        return True

    def thaw(self, now: float = float("inf")) -> None:
        """Let go on what is due by `now`; by default everything."""
        with self._lock:
            due = [handle for at, handle in self._thaws if at <= now]
            self._thaws = [(at, handle) for at, handle in self._thaws if at > now]
        for handle in due:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            os.close(handle)

    @property
    def frozen(self) -> int:
        """How many processes wait to be thawed."""
        return len(self._thaws)

    def stop(self) -> None:
        """Thaw everything and keep nothing alive any more."""
        self._over.set()
        self._thread.join()
        self.thaw()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.thaw(time.monotonic())
            for part in list(self.parts.values()):
                part.mend()


@final
class Part:
    """One program of the stack: broker, API, a worker, the database."""

    def __init__(self, name: str, child: Child, keeper: Keeper) -> None:
        """Hold a running child."""
        self.name, self.child, self.keeper = name, child, keeper
        self._hurt, self._back_at = False, 0.0
        self._lock = threading.RLock()

    @property
    def pid(self) -> int:
        """The main process's id, which changes when the part starts again."""
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether the main process lives."""
        return self.child.exit_code is None

    def kill(self) -> None:
        """SIGKILL to the main process and everything below it."""
        with self._lock:
            self._hurt = True
            for pid in [*reversed(below(self.pid)), self.pid]:
                hit(pid, signal.SIGKILL)

    def kill_main(self) -> None:
        """SIGKILL to the main process alone."""
        with self._lock:
            self._hurt = True
            hit(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM to the main process, as a service manager begins a stop."""
        with self._lock:
            self._hurt = True
            hit(self.pid, signal.SIGTERM)

    def blame(self, ours: bool) -> None:
        """Whether an end that comes now is our doing, though another process sends the signal."""
        with self._lock:
            self._hurt = ours

    def down(self, seconds: float, number: signal.Signals = signal.SIGKILL) -> None:
        """End the part and keep it away for so long."""
        with self._lock:
            self._back_at = time.monotonic() + seconds
        self.kill() if number == signal.SIGKILL else self.terminate()

    def freeze(self, seconds: float) -> None:
        """Stop the main process and everything below it, and let them go on later."""
        for pid in [self.pid, *below(self.pid)]:
            self.keeper.freeze(pid, seconds)

    def restart(self, ready: Callable[[], bool] = lambda: True, seconds: float = 30.0) -> None:
        """Kill, and wait until it has been started again and `ready` says so."""
        before = self.pid
        self.kill()
        end = time.monotonic() + seconds
        while not (self.pid != before and self.running and ready()) and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)

    def mend(self) -> None:
        """Start the part again if it has ended and is due; the keeper's work."""
        with self._lock:
            if self.running or time.monotonic() < self._back_at:
                return
            if not self._hurt:
                self.keeper.surprises.append(f"{self.name} ended by itself, exit code {self.child.exit_code}")
            self._hurt = False
            self.keeper.restarts += 1
            self.child.restart()
