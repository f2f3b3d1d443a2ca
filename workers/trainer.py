"""The trainer: one process, one attempt. It alone computes, may touch CUDA, and never opens the database.

It is forked from the zygote (or started by `python -m workers.trainer`), reads one JSON request from standard input,
and then commands from the same pipe: `stop` (finish now, keep the model), `drain` (write a checkpoint and leave). When
that pipe closes, the supervisor is gone and the trainer ends at once. Messages go out on a pipe of their own, see
`workers.protocol`.
"""

import argparse
import contextlib
import errno
import faulthandler
import fcntl
import gc
import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO, TypeAlias, final

from services.errors import TrainyardError
from workers import memory
from workers.protocol import EXIT_DRAINED, EXIT_OK, EXIT_UNREADABLE, encode

Sayable: TypeAlias = dict[str, Any]
Engine: TypeAlias = Callable[..., Iterator[Sayable]]

ENGINE: Final = "services.training_job:run"
PROGRESS_EVERY: Final = 0.1
NICENESS: Final = 10
#: The reason of failure for an exception's code; what is not here is our own fault.
REASONS: Final = {
    "data_error": "data_error",
    "diverged": "diverged",
    "invalid": "spec_error",
    "not_found": "spec_error",
    "out_of_memory": "out_of_memory",
    "storage_full": "storage_full",
}


@final
class Commands:
    """What the supervisor has asked for so far. Calling it answers "finish now and keep the model?"."""

    def __init__(self, source: BinaryIO) -> None:
        """Listen on `source` from a thread of its own."""
        self._source = source
        self._stop, self._drain = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        """Whether the user asked to stop."""
        return self._stop.is_set()

    def checkpoint_wanted(self) -> bool:
        """Whether this worker is going down: an engine that looks here writes a checkpoint after the current step."""
        return self._drain.is_set()

    def listen(self) -> None:
        """Start the listening thread."""
        threading.Thread(target=self._listen, name="commands", daemon=True).start()

    def _listen(self) -> None:
        known = {b"stop": self._stop, b"drain": self._drain}
        for line in iter(self._source.readline, b""):
            if flag := known.get(line.strip()):
                flag.set()
        # The supervisor is gone: nobody may record what this process does, so it must not go on.
        os._exit(EXIT_DRAINED)


@final
class Mouth:
    """Writes messages to the protocol pipe; progress is thinned out, everything else goes at once and in order."""

    def __init__(self, fd: int, every: float = PROGRESS_EVERY) -> None:
        """Speak on file descriptor `fd`."""
        self._fd, self._every = fd, every
        self._held: Sayable | None = None
        self._last = float("-inf")

    def say(self, message: Sayable) -> None:
        """Send `message`, or hold it back if it is progress that comes too soon after the last."""
        if message.get("type") == "progress" and time.monotonic() - self._last < self._every:
            self._held = message
            return
        if message.get("type") == "progress":
            self._held, self._last = None, time.monotonic()
        self.flush()
        self._write(encode(message))

    def flush(self) -> None:
        """Send the progress held back, if any."""
        held, self._held = self._held, None
        if held is not None:
            self._write(encode(held))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def find_engine(name: str) -> Engine:
    """The function that trains, from `module:function`; the name comes from the command line, never from users."""
    module, _, function = name.partition(":")
    found: Engine = getattr(importlib.import_module(module), function)
    return found


def train(request: Sayable, engine: Engine, mouth: Mouth, commands: Commands) -> int:
    """Run `engine` on `request` and pass on what it yields; returns the exit status."""
    messages = engine(
        request["spec"],
        Path(request["folder"]),
        Path(request["resume"]) if request.get("resume") else None,
        request["device"],
        request["threads"],
        Path(request["datasets_dir"]),
        commands,
        **({"upload": request["upload"]} if request.get("upload") else {}),
    )
    try:
        return _relay(messages, mouth, commands)
    except Exception as error:
        traceback.print_exc()
        if getattr(error, "code", None) == "checkpoint_unreadable":
            return EXIT_UNREADABLE
        taken = isinstance(error, MemoryError) and memory.crowded_out(str(error))
        more = {"crowded": True} if taken else {}
        mouth.say({"type": "failed", "reason": reason_of(error), "message": describe(error), **more})
        return EXIT_OK


def _relay(messages: Iterator[Sayable], mouth: Mouth, commands: Commands) -> int:
    for message in messages:
        mouth.say(message)
        if message["type"] in {"done", "failed"}:
            return EXIT_OK
        if message["type"] == "checkpoint" and commands.checkpoint_wanted():
            if isinstance(messages, Generator):
                messages.close()
            return EXIT_DRAINED
    raise RuntimeError("the training ended without saying how")


def reason_of(error: BaseException) -> str:
    """The reason of failure that an exception stands for."""
    if isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "storage_full"
    code = error.code if isinstance(error, TrainyardError) else "internal_error"
    return REASONS.get(code, "internal_error")


def describe(error: BaseException) -> str:
    """What a user is told about an exception: our own words, or its kind; the trace is in the job's log."""
    if isinstance(error, TrainyardError):
        return f"{error.message} {error.hint or ''}".strip()
    return f"{type(error).__name__}: {error}"[:2000]


def run(engine: Engine, protocol: int) -> int:
    """Be a trainer: standard input is the request and the command pipe, `protocol` the pipe for messages."""
    source = os.fdopen(0, "rb", closefd=False)
    line = source.readline()
    if not line:
        return EXIT_DRAINED
    commands = Commands(source)
    commands.listen()
    mouth = Mouth(protocol)
    request = json.loads(line)
    memory.bind(request.get("memory"), request["device"], request["threads"])
    status = train(request, engine, mouth, commands)
    mouth.flush()
    return status


def become(engine: Engine, stdin: int, protocol: int, log: int) -> None:
    """Turn this freshly forked process into a trainer and end it. Never returns."""
    status = 1
    try:
        _settle_in(stdin, protocol, log)
        gc.enable()
        status = run(engine, 3)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: what the zygote registered to happen at exit is not ours to do.
        os._exit(status)


def _settle_in(stdin: int, protocol: int, log: int) -> None:
    """An own session, and no file open but the three pipes."""
    os.setsid()
    # Moved out of the way first: one of them may already be number 0 to 3.
    stdin, protocol, log = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in (stdin, protocol, log))
    for place, fd in enumerate((stdin, log, log, protocol)):
        os.dup2(fd, place, inheritable=place < 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = _text(1), _text(2)
    faulthandler.enable()
    _offer_to_the_oom_killer()
    _give_way()


def _text(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _offer_to_the_oom_killer() -> None:
    """When memory runs out, the trainer goes: its supervisor tells the story and the job comes back."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _give_way() -> None:
    """Training uses whatever processor time is left: answers, heartbeats and checkpoints come first.

    Where the kernel groups processes by session, niceness counts inside the group only, so the group is told too.
    """
    with contextlib.suppress(OSError):
        os.nice(NICENESS - os.nice(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one trainer without a zygote: request on standard input, messages on `--protocol` (a file descriptor)."""
    parser = argparse.ArgumentParser(prog="python -m workers.trainer", description=main.__doc__)
    parser.add_argument("--engine", default=ENGINE, help="module:function that trains")
    parser.add_argument("--protocol", type=int, default=1, help="file descriptor for messages")
    options = parser.parse_args(argv)
    return run(find_engine(options.engine), options.protocol)


if __name__ == "__main__":
    sys.exit(main())
