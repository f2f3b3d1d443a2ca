"""Processes seen through /proc: who is below whom, what each one is, and signals that never reach a stranger."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

ROLES: Final = ("main", "pool", "zygote", "trainer")


@final
@dataclass(frozen=True)
class Process:
    """One process of a worker: what it is, and the name of the part it belongs to."""

    pid: int
    parent: int
    role: str
    part: str


def table() -> dict[int, int]:
    """Every living process with its parent; zombies are dead."""
    found: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                state, parent = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    found[int(entry)] = int(parent)
    return found


def below(main: int) -> list[int]:
    """All living descendants of a process, nearest first."""
    parents, found = table(), [main]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def family(main: int, part: str) -> Iterator[Process]:
    """A worker's processes with their roles."""
    parents = table()
    if main not in parents:
        return
    known = {main: "main"}
    yield Process(main, parents[main], "main", part)
    for pid in below(main):
        role = _role(pid, known.get(parents.get(pid, 0), ""))
        known[pid] = role
        yield Process(pid, parents.get(pid, 0), role, part)


def _role(pid: int, parent_role: str) -> str:
    """A fork of a zygote looks like it, so the parent decides."""
    if parent_role == "zygote":
        return "trainer"
    with contextlib.suppress(OSError):
        if b"workers.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return "zygote"
    return "pool" if parent_role == "main" else "other"


def hit(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when the process has gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def marked(folder: Path) -> list[int]:
    """Processes whose environment names this folder, whoever their parent is by now."""
    mark, found = str(folder).encode(), []
    for pid in table():
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


def words_of(pid: int) -> str:
    """A process's command line, for a message."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "gone"
