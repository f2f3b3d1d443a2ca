"""Asks a limited child process about a file, and makes sense of its answer or of its death."""

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, NoReturn, final

from services.errors import Invalid, Mistake, NotDownloaded, Unavailable
from services.uploads.limits import Limits

log = logging.getLogger("trainyard.uploads")

CHILD: Final = (sys.executable, "-m", "services.uploads.child")
MEND: Final = "Mend the file, or take that part out of it, and send it again."
_CHUNK: Final = 1 << 16
_LAST_WORDS: Final = 4000
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "TZ", "SSL_CERT_FILE")
_PRESET: Final = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "2",
    "MALLOC_ARENA_MAX": "2",
}


@final
class Inspector:
    """Starts one child a question. Safe from any thread; `stop` ends those that run."""

    def __init__(self, command: Sequence[str] = CHILD) -> None:
        """Ask `command`, which takes a request on standard input and answers with one line."""
        self._command = list(command)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def ask(self, request: Mapping[str, Any], limits: Limits, called: tuple[str, str] | None = None) -> dict[str, Any]:
        """What the child found. Invalid with its refusal, or with how it came to its end; NotDownloaded.

        `called`: a word to replace in refusals (the name of a temporary file), and what its owner calls it.
        """
        text = json.dumps({**request, "limits": asdict(limits)}).encode()
        child = self._start()
        try:
            _hand_over(child, text)
            said, words, late = _listen(child, limits)
        finally:
            self._end(child)
        if late or child.returncode != 0:
            _died(child.returncode, late, limits, words)
        return answered(json.loads(said), called)

    def stop(self) -> None:
        """End every child; who waits for one is told that the service is going down."""
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _PRESET
        with self._lock:
            if self._stopped:
                raise Unavailable("The service is going down.")
            pipe = subprocess.PIPE
            child = subprocess.Popen(
                self._command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
            self._running.add(child)
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Kill it if it still runs, its own children too, and let go of it."""
        with self._lock:
            self._running.discard(child)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
        child.wait()


def _hand_over(child: subprocess.Popen[bytes], text: bytes) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(text)
        child.stdin.close()
    except BrokenPipeError:
        child.stdin = None


def _listen(child: subprocess.Popen[bytes], limits: Limits) -> tuple[bytes, str, str | None]:
    """All that it says, the end of its complaints, and why it was not let finish (None: it ended by itself)."""
    assert child.stdout is not None
    assert child.stderr is not None
    said, words, deadline = bytearray(), bytearray(), time.monotonic() + limits.seconds
    with selectors.DefaultSelector() as both:
        heard = {child.stdout.fileno(): said, child.stderr.fileno(): words}
        for pipe in (child.stdout, child.stderr):
            both.register(pipe, selectors.EVENT_READ)
        while both.get_map():
            ready = both.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                return b"", words.decode(errors="replace"), "time"
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                heard[key.fd] += chunk
                if not chunk:
                    both.unregister(key.fileobj)
            del words[:-_LAST_WORDS]
            if len(said) > limits.answer_bytes:
                return b"", words.decode(errors="replace"), "answer"
    try:
        child.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return b"", words.decode(errors="replace"), "time"
    return bytes(said), words.decode(errors="replace"), None


def answered(answer: Mapping[str, Any], called: tuple[str, str] | None = None) -> dict[str, Any]:
    """What was found; Invalid or NotDownloaded where the answer is a refusal."""
    if (refused := answer.get("refused")) is None:
        found: dict[str, Any] = answer["found"]
        return found
    message, hint = (_renamed(refused.get(part), called) for part in ("message", "hint"))
    if refused["code"] == NotDownloaded.code:
        raise NotDownloaded(message, hint=hint)
    if mistakes := [Mistake(**mistake) for mistake in refused.get("mistakes") or ()]:
        raise Invalid([replace(m, message=_renamed(m.message, called) or m.message) for m in mistakes])
    raise refusal(refused["code"], message or "It is refused.", hint or MEND)


def _renamed(text: str | None, called: tuple[str, str] | None) -> str | None:
    return text.replace(*called) if text and called else text


def refusal(code: str, message: str, hint: str | None = None) -> Invalid:
    """The refusal of what was sent as a whole."""
    return Invalid([Mistake("body", code, message, hint)], message)


def _died(status: int, late: str | None, limits: Limits, words: str) -> NoReturn:
    """Why it came to no answer, in the words of the limits."""
    log.warning("a file could not be inspected: status %s, %s; %s", status, late, words[-_LAST_WORDS:])
    less = "Send a smaller part of it, or a simpler file."
    if late == "answer":
        raise refusal("too_demanding", "There are too many columns, classes or files in it.", less)
    if late == "time" or status == -signal.SIGXCPU:
        what = f"{limits.seconds:g} seconds" if late else f"{limits.cpu_seconds:,} seconds of computing"
        raise refusal("too_demanding", f"Reading it takes more than the {what} that there are for it.", less)
    if status == -signal.SIGKILL:
        raise Unavailable("The file could not be inspected: its inspection was ended from outside.")
    memory = f"{limits.memory_bytes / 2**30:.1f} GiB of memory"
    raise refusal("unreadable", f"It broke its reader, or takes more than {memory}.", less)
