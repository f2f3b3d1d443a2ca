"""A long-running program that belongs to this process: its own process group, its own log, gone when we are gone."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

from api import leash

STOP_SECONDS = 10.0
LONGEST_LOG = 10_000_000  # bytes; then it becomes NAME.old.log, in place of the one before


@final
class Child:
    """One program under our care. It starts at once; `stop` ends its whole process group."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        text: str = "",
        fd: int | None = None,
    ) -> None:
        """Start `words` with `text` on standard input and the open file `fd`; its output is appended to `log`."""
        self.name, self.log = name, log
        self._words, self._env, self._text, self._fds = list(words), dict(env), text, () if fd is None else (fd,)
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.bound_log()
        shim = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid())]
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [*shim, *self._words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
                pass_fds=self._fds,
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(self._text.encode())
        return process

    def bound_log(self) -> None:
        """Put a log that has grown too long aside and begin it anew. The program goes on appending to the same file, so
        that file is emptied; what it writes between the copy and that moment is lost."""
        if self.log.exists() and self.log.stat().st_size > LONGEST_LOG:
            shutil.copyfile(self.log, self.log.with_suffix(".old.log"))
            os.truncate(self.log, 0)

    @property
    def pid(self) -> int:
        """The process id, which is the group's id too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def restart(self) -> None:
        """Start the same program again after it ended, or was ended."""
        self.stop()
        self._process = self._start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM, patience, then SIGKILL to whatever is left of the group."""
        if self.exit_code is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for an error message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def wait_until(ready: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Ask `ready` again and again; False when it has not come true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return True
        time.sleep(pause)
    return ready()
