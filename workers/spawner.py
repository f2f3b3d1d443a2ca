"""The supervisor's side of the zygote: starts it, asks it for trainers, and holds one trainer by its pipes.

Linux only: a trainer is pinned by a pidfd, so that no signal ever reaches a stranger that got the same process id.
"""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

from workers.trainer import ENGINE
from workers.zygote import PACKET

log = logging.getLogger(__name__)

#: A first start may compile kernels; a zygote that dies is noticed at once whatever this says.
READY_SECONDS: Final = 600.0
START_SECONDS: Final = 20.0
#: A zygote that has not said by then that its trainer is dead is frozen.
REPORT_SECONDS: Final = 5.0


@final
class ZygoteLost(Exception):
    """The zygote does not start or has died."""


@final
class TrainerProcess:
    """One trainer, from fork to grave. `messages` and `output` are the read ends of its pipes, never blocking."""

    def __init__(
        self,
        pid: int,
        pidfd: int,
        control: socket.socket,
        stdin: int,
        messages: int,
        output: int,
        end_zygote: Callable[[], None],
    ) -> None:
        """Take over the process and its file descriptors; `control` and the zygote stay the spawner's."""
        self.pid, self.messages, self.output, self.control = pid, messages, output, control
        self._pidfd, self._stdin = pidfd, stdin
        self._end_zygote, self._died_at = end_zygote, float("inf")
        self._zygote_alive, self.exited = True, False
        self.status: int | None = None

    def command(self, word: str) -> None:
        """Send `stop` or `drain`; a trainer that has gone does not hear it."""
        with contextlib.suppress(OSError):
            os.write(self._stdin, f"{word}\n".encode())

    def kill(self) -> None:
        """Kill the trainer and everything in its process group. Returns at once: see `check`."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._zygote_alive:
                # The zygote reaps nothing before `close`, so this number is still this trainer's group.
                os.killpg(self.pid, signal.SIGKILL)
            elif not self._dead():
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def check(self) -> bool:
        """Whether the trainer is gone; `status` then tells how (None: its parent died, nobody knows)."""
        if not self.exited:
            self._read_status()
            if self._zygote_alive:
                self._do_not_wait_for_ever()
            else:
                self.kill()
                select.select([self._pidfd], [], [], 0.1)
            self.exited = self.status is not None or (not self._zygote_alive and self._dead())
        return self.exited

    def close(self) -> None:
        """Kill what is left, wait until it is gone, and let go of everything."""
        while not self.check():
            self.kill()
            select.select([self._pidfd], [], [], 0.2)
        self.kill()
        if self._zygote_alive:
            with contextlib.suppress(OSError):
                self.control.send(b"reap")
        for fd in (self._pidfd, self._stdin, self.messages, self.output):
            os.close(fd)

    def _do_not_wait_for_ever(self) -> None:
        """End a zygote that keeps its trainer's death to itself: it may be stopped, and the job must go on."""
        if self.status is None and self._dead():
            self._died_at = min(self._died_at, time.monotonic())
            if time.monotonic() - self._died_at > REPORT_SECONDS:
                log.error("the zygote does not report that its trainer is dead; it is ended")
                self._end_zygote()

    def _read_status(self) -> None:
        try:
            packet = self.control.recv(PACKET, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            # The kernel kills the trainer with the zygote, but not what the trainer had started itself.
            self.kill()
            self._zygote_alive = False
        else:
            self.status = json.loads(packet)["status"]

    def _dead(self) -> bool:
        return bool(select.select([self._pidfd], [], [], 0)[0])


@final
class Spawner:
    """Keeps one zygote and forks trainers from it, one at a time."""

    def __init__(
        self, environment: Mapping[str, str], *, engine: str = ENGINE, preload: Sequence[str] | None = None
    ) -> None:
        """Zygotes run with `environment`; `engine` is the `module:function` that trains."""
        self._environment = dict(environment)
        self._arguments = ["--engine", engine, *(["--preload", *preload] if preload is not None else [])]
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False
        self.threads: int | None = None

    @property
    def pid(self) -> int | None:
        """The zygote's process id, if there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the zygote unless it runs; does not wait for its imports."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "workers.zygote", "--control", str(theirs.fileno())]
            command += ["--parent", str(os.getpid()), *self._arguments]
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        self._control, self._ready = ours, False

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Start if need be and wait until the imports are done; ZygoteLost when that fails."""
        self.start()
        if not self._ready:
            answer = self._receive(seconds)
            self.threads, self._ready = answer["threads"], True
            log.info("zygote ready", extra={"pid": answer["ready"], "seconds": round(answer["seconds"], 2)})
            if answer["threads"] != 1:
                log.warning("the zygote has %d threads; forking from it is not safe", answer["threads"])

    def trainer(self, request: Mapping[str, Any]) -> TrainerProcess:
        """Fork a trainer and hand it its request; a dead zygote is replaced once."""
        try:
            return self._fork(request)
        except ZygoteLost:
            self.close()
            return self._fork(request)

    def close(self) -> None:
        """End the zygote, and with it any trainer."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._control = None
        self._ready = False

    def _fork(self, request: Mapping[str, Any]) -> TrainerProcess:
        self.wait_ready()
        assert self._control is not None
        with contextlib.ExitStack() as theirs:
            (in_, stdin), (messages, out), (output, log_) = os.pipe(), os.pipe(), os.pipe()
            for fd in (in_, out, log_):
                theirs.callback(os.close, fd)
            with contextlib.ExitStack() as ours:
                for fd in (stdin, messages, output):
                    ours.callback(os.close, fd)
                pid, pidfd = self._ask(in_, out, log_)
                ours.pop_all()
        for fd in (messages, output):
            os.set_blocking(fd, False)
        with contextlib.suppress(BrokenPipeError), open(stdin, "wb", closefd=False) as pipe:
            pipe.write(json.dumps(dict(request)).encode() + b"\n")
        assert self._process is not None
        return TrainerProcess(pid, pidfd, self._control, stdin, messages, output, self._process.kill)

    def _ask(self, *fds: int) -> tuple[int, int]:
        assert self._control is not None
        try:
            socket.send_fds(self._control, [b'{"fork":true}'], list(fds))
        except OSError as error:
            raise ZygoteLost(f"the zygote does not listen: {error}") from None
        pid = self._receive(START_SECONDS)["started"]
        try:
            return pid, os.pidfd_open(pid)
        except ProcessLookupError:
            raise ZygoteLost("the zygote died while it forked") from None

    def _receive(self, seconds: float) -> dict[str, Any]:
        assert self._control is not None
        self._control.settimeout(seconds)
        try:
            packet = self._control.recv(PACKET)
        except (TimeoutError, OSError) as error:
            packet, reason = b"", str(error)
        else:
            reason = "it ended"
        finally:
            self._control.settimeout(None)
        if not packet:
            raise ZygoteLost(f"the zygote does not answer: {reason}")
        answer: dict[str, Any] = json.loads(packet)
        return answer


def trainer_environment(base: Mapping[str, str], *, cuda_devices: str, threads: int) -> dict[str, str]:
    """The environment of zygote and trainers: fork-safe thread pools, one device, no way to database or broker."""
    private = {"TRAINYARD_DATABASE_URL", "TRAINYARD_REDIS_URL"}
    kept = {name: value for name, value in base.items() if name not in private}
    return kept | {
        "CUDA_VISIBLE_DEVICES": cuda_devices,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "NUMBA_THREADING_LAYER": "workqueue",
        "NUMBA_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
