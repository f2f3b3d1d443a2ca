"""The zygote: a clean process that has imported everything heavy, so that a trainer is a fork away.

One per pool process. It stays single-threaded and touches neither CUDA nor a thread pool, because neither survives a
fork. Its parent talks to it over a socket (one JSON object a packet): `fork` with three pipes attached (commands,
messages, log) is answered by `{"started": pid}`, later by `{"exited": pid, "status": n}` (negative: a signal's number).
The dead trainer stays a zombie until `reap`, so that its process id cannot belong to anybody else when it is signalled.
"""

import argparse
import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from workers.trainer import ENGINE, Engine, become, find_engine

#: Imported ahead because training imports them late; a module that is missing is not needed.
PRELOAD: Final = ("sklearn.datasets", "sklearn.model_selection", "pooch")
PACKET: Final = 65_536
_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies (Linux); ends at once if that has happened already."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def threads_of_this_process() -> int:
    """How many threads the kernel counts here, Python's or a library's."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 1


def warm_up(engine: str, preload: Sequence[str]) -> Engine:
    """Import what training needs; an engine module's own `preload()` is called if it has one."""
    for name in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    found = find_engine(engine)
    own = getattr(importlib.import_module(engine.partition(":")[0]), "preload", None)
    if own is not None:
        own()
    gc.collect()
    gc.freeze()
    return found


def serve(control: socket.socket, engine: Engine) -> None:
    """Fork a trainer per request, until the parent hangs up."""
    while True:
        packet, fds, _, _ = socket.recv_fds(control, PACKET, 3)
        if not packet:
            return
        if len(fds) == 3:
            _one_trainer(control, engine, fds)


def _one_trainer(control: socket.socket, engine: Engine, fds: Sequence[int]) -> None:
    me = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pid = os.fork()
    if pid == 0:
        die_with_parent(me)
        become(engine, *fds)
    for fd in fds:
        os.close(fd)
    _say(control, {"started": pid})
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    _say(control, {"exited": pid, "status": ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status})
    control.recv(PACKET)
    os.waitpid(pid, 0)


def _say(control: socket.socket, answer: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        control.send(json.dumps(answer).encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Be a zygote for the process that started this one."""
    parser = argparse.ArgumentParser(prog="python -m workers.zygote", description=main.__doc__)
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the socket to the parent")
    parser.add_argument("--parent", type=int, required=True, help="process id of the parent")
    parser.add_argument("--engine", default=ENGINE, help="module:function that trains")
    parser.add_argument("--preload", nargs="*", default=list(PRELOAD), help="modules to import ahead")
    options = parser.parse_args(argv)
    die_with_parent(options.parent)
    # Ctrl-C in a terminal goes to every process in it; the supervisor decides what it means for the job.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    began = time.monotonic()
    with socket.socket(fileno=options.control) as control:
        engine = warm_up(options.engine, options.preload)
        _say(control, {"ready": os.getpid(), "threads": threads_of_this_process(), "seconds": time.monotonic() - began})
        serve(control, engine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
