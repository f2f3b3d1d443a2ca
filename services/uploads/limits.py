"""What a child that reads a stranger's file may use, and how it ties its own hands before it begins."""

import ctypes
import os
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, final

GIB: Final = 2**30
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


@final
@dataclass(frozen=True)
class Limits:
    """Seconds of CPU time, bytes of address space, seconds on the clock, bytes of an answer."""

    cpu_seconds: int
    memory_bytes: int
    seconds: float
    answer_bytes: int = 8 * 2**20

    @classmethod
    def for_size(cls, size: int) -> "Limits":
        """What a file of `size` bytes deserves: 2 minutes and 3 GiB, and more for a large one, as far as this machine
        has it."""
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        cpu = 120 + size // 4_000_000
        return cls(cpu, max(GIB, min(3 * GIB + 4 * size, there * 3 // 4)), 1.5 * cpu + 30)

    def impose(self) -> None:
        """Bind this process for good: no more than this, no file written, no core dump, no new rights, no network
        where the kernel lets it go, and no life beyond its parent's."""
        for what, most in (
            (resource.RLIMIT_AS, self.memory_bytes),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, 256),
        ):
            top = _within(what, most)
            resource.setrlimit(what, (top, top))
        # At the soft limit comes a signal that tells why, and only after it the plain kill.
        cpu = _within(resource.RLIMIT_CPU, self.cpu_seconds + 2)
        resource.setrlimit(resource.RLIMIT_CPU, (max(1, cpu - 2), cpu))
        with suppress(OSError, AttributeError):
            system = ctypes.CDLL(None)
            system.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            # Root needs no user namespace, and in one it could not read the files of others any more.
            system.unshare(_NEW_NETWORK if os.geteuid() == 0 else _NEW_NETWORK | _NEW_USER)


def _within(what: int, most: int) -> int:
    """`most`, or what this process was left with, if that is less."""
    hard = resource.getrlimit(what)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)
