"""How much memory there really is: the machine's, or less where a container or a limit of this process says so.

Read from files of the kernel only; nothing here touches CUDA. Control groups of both versions are understood.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from services.footprint import CONTEXT, MEBIBYTE

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
#: No machine has more: version 1 says "no limit" with a number of this size.
_NO_LIMIT: Final = 2**60
#: Part of its allowance from which a killed trainer is taken to have died of memory.
_NEAR: Final = 0.9
_KILLED: Final = {-6, -7, -9, -11}
#: Address space that is never filled: stacks of threads, arenas of allocators.
_SLACK: Final = 256 * MEBIBYTE
_STACK: Final = 16 * MEBIBYTE
_FULL: Final = re.compile(
    r"Out of memory allocating ([\d,]+) bytes \(allocated so far: ([\d,]+) bytes, limit set to: ([\d,]+) bytes\)"
)


@final
@dataclass(frozen=True)
class Group:
    """The files in which one control group tells its limit, its use, what of it can be taken back, and its kills."""

    folder: Path
    limit: str
    used: str
    reclaimable: str
    kills: str


def total() -> int | None:
    """Bytes that this process and its children may use at most."""
    limits = [size for group in _groups() if (size := _number(group.folder / group.limit)) is not None]
    own = [resource.getrlimit(which)[0] for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    bound = [size for size in (*limits, *own) if 0 <= size < _NO_LIMIT]
    machine = _meminfo("MemTotal")
    return min([*bound, *([] if machine is None else [machine])], default=None)


def free() -> int | None:
    """Bytes that can be taken now without pushing anybody out."""
    left = [_left(group) for group in _groups()]
    machine = _meminfo("MemAvailable")
    return min([size for size in (*left, machine) if size is not None], default=None)


def kills() -> int:
    """How often the kernel has killed something here for want of memory, so far."""
    told = [found for group in _groups() if (found := _field(group.folder / group.kills, "oom_kill")) is not None]
    return max(told) if told else _field(PROC / "vmstat", "oom_kill") or 0


def resident(pid: int) -> int | None:
    """Bytes of a process that are in memory; None when it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


@final
class Watch:
    """An eye on one trainer's memory. `allowed` bytes are what it was let have of its device's (None: all of it)."""

    def __init__(self, pid: int, allowed: int | None, kind: str = "cpu") -> None:
        """Begin to watch process `pid`, whose device is of `kind`; what it holds on a GPU is not seen from here."""
        self._pid, self._kills = pid, kills()
        self._limit = allowed if kind == "cpu" else None
        self.allowed, self.kind, self.peak = allowed, kind, 0

    def exceeded(self) -> bool:
        """Look: whether it has taken more than it was let have."""
        self.peak = max(self.peak, resident(self._pid) or 0)
        return self._limit is not None and self.peak > self._limit

    def died_of_it(self, status: int) -> bool:
        """Whether a trainer that ended so died for want of memory: the kernel counted a kill, or it had taken all."""
        near = self._limit is not None and self.peak >= _NEAR * self._limit
        return status in _KILLED and (near or (status == -9 and kills() > self._kills))


def allowance(need: int, spare: int | None) -> int | None:
    """What a job that was foreseen to need `need` bytes may take: twice that, as far as it is there. None: unknown."""
    if not need:
        return None
    return 2 * need if spare is None else max(need, min(2 * need, spare))


def bind(allowed: int | None, device: str, threads: int) -> None:
    """Bind this process, which has not allocated anything yet, to its allowance: on a GPU its pool of memory, else the
    memory that it may write to. What goes beyond ends as a MemoryError that tells where."""
    if allowed is None:
        return
    if device != "cpu":
        os.environ["CUPY_GPU_MEMORY_LIMIT"] = str(max(allowed - CONTEXT, MEBIBYTE))
        return
    held, there = (_field(PROC / "self" / "status", name) for name in ("VmData:", "VmRSS:"))
    if held is None or there is None:
        return
    limit = 1024 * held + max(0, allowed - 1024 * there) + _SLACK + _STACK * threads
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def crowded_out(message: str) -> bool:
    """Whether a GPU refused what the pool still allowed: somebody else has taken the memory meanwhile."""
    found = _FULL.search(message)
    if found is None:
        return False
    asked, taken, limit = (int(number.replace(",", "")) for number in found.groups())
    return asked + taken <= limit


def _groups() -> Iterator[Group]:
    """The control groups that this process is in, innermost first, as far as their files can be seen from here."""
    for line in _read(PROC / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and (CGROUPS / "cgroup.controllers").exists():
            yield from _upwards(CGROUPS, path, ("memory.max", "memory.current", "inactive_file", "memory.events"))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")
            yield from _upwards(CGROUPS / "memory", path, names)


def _upwards(root: Path, path: str, names: tuple[str, str, str, str]) -> Iterator[Group]:
    """A group and all above it. In a container the own group is often the root, whatever its path is called."""
    steps = [step for step in path.split("/") if step not in {"", ".", ".."}]
    for depth in range(len(steps), -1, -1):
        folder = root.joinpath(*steps[:depth])
        if (folder / names[0]).exists() or (folder / names[1]).exists():
            yield Group(folder, *names)


def _left(group: Group) -> int | None:
    limit, used = _number(group.folder / group.limit), _number(group.folder / group.used)
    if limit is None or used is None or limit >= _NO_LIMIT:
        return None
    return max(0, limit - used + (_field(group.folder / "memory.stat", group.reclaimable) or 0))


def _meminfo(name: str) -> int | None:
    found = _field(PROC / "meminfo", f"{name}:")
    return None if found is None else found * 1024


def _field(path: Path, name: str) -> int | None:
    """The number behind `name` in a file of lines."""
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return None


def _number(path: Path) -> int | None:
    """A file that is one number; None for `max`, and where there is none."""
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
