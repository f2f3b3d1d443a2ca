"""Kills and freezes at random moments, aimed by seeded dice, each remembered with the job that it hit."""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, final

from sqlalchemy import select

from services.errors import Unavailable
from services.sql.engine import reading
from services.sql.schema import attempts, jobs
from tests.chaos.processes import Process, hit
from tests.chaos.yard import Yard

KILLS: Final[Mapping[str, float]] = {
    "trainer": 0.56, "supervisor": 0.13, "zygote": 0.09, "worker tree": 0.05, "reaper": 0.05, "api": 0.12,
}  # fmt: skip
"""What is killed, and how often. The supervisor is a pool process, the reaper lives in a worker's main process."""
FREEZES: Final[Mapping[str, float]] = {"supervisor": 0.55, "worker tree": 0.2, "trainer": 0.1, "reaper": 0.15}
_ROLE: Final = {"trainer": "trainer", "supervisor": "pool", "zygote": "zygote", "worker tree": "main", "reaper": "main"}
MOST_SETBACKS: Final = 2
"""A third attempt without progress is the last (the poison rule), so a job with so many setbacks is spared."""
MOST_ATTEMPTS: Final = 16
LOOK_SECONDS: Final = 0.1
ZOMBIE_SECONDS: Final = 12.0
IDLE: Final = 0.1
"""How often somebody without a job is hit while nobody else has one; more would keep workers from ever starting."""


@final
@dataclass(frozen=True)
class Holding:
    """The job that a pool process holds; `setbacks` counts its attempts without progress."""

    job: str
    attempt: int
    setbacks: int

    @property
    def fragile(self) -> bool:
        """One more blow, and the product would rightly give the job up."""
        return self.setbacks >= MOST_SETBACKS or self.attempt >= MOST_ATTEMPTS


@final
@dataclass(frozen=True)
class Fault:
    """One blow: what (kill or freeze), to whom, when (UTC), and the attempt that was under way there."""

    what: str
    target: str
    at: datetime
    holding: Holding | None


@final
class Saboteur:
    """Hurts a yard. Every method returns whether there was somebody to hurt."""

    def __init__(self, yard: Yard, dice: random.Random) -> None:
        """Aim with `dice`."""
        self.yard, self.dice = yard, dice
        self.faults: list[Fault] = []

    def count(self, what: str) -> int:
        """How many blows of a kind (kill, freeze) so far."""
        return sum(fault.what == what for fault in self.faults)

    def deck(self, kills: int, freezes: int) -> list[tuple[str, str]]:
        """So many (what, target) in random order."""
        cards = [("kill", self._draw(KILLS)) for _ in range(kills)]
        cards += [("freeze", self._draw(FREEZES)) for _ in range(freezes)]
        self.dice.shuffle(cards)
        return cards

    def kill(self, target: str, idle: float = IDLE) -> bool:
        """SIGKILL to somebody of `target` (KILLS); to somebody idle with chance `idle`, while nobody is busy."""
        if target == "api":
            self.yard.parts["api"].kill_main()
            return self._note("kill", target, None)
        victim, holding = self._victim(target, idle)
        if victim is None:
            return False
        if target == "worker tree":
            self.yard.parts[victim.part].kill()
        elif target == "reaper":
            self.yard.parts[victim.part].kill_main()
        elif not hit(victim.pid, signal.SIGKILL):
            return False
        return self._note("kill", target, holding)

    def freeze(self, target: str, seconds: float, idle: float = IDLE) -> bool:
        """SIGSTOP to somebody of `target` (FREEZES), SIGCONT after `seconds`; to somebody idle with chance `idle`."""
        victim, holding = self._victim(target, idle)
        if victim is None:
            return False
        if target == "worker tree":
            self.yard.parts[victim.part].freeze(seconds)
        elif not self.yard.keeper.freeze(victim.pid, seconds):
            return False
        return self._note("freeze", target, holding)

    def zombie(self, seconds: float = 120.0) -> bool:
        """Freeze a supervisor until its job has been taken from it, then let it go on; False when none lost its job.

        One that is frozen inside a transaction of SQLite keeps everybody from writing, the reaper too: try again.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.freeze("supervisor", seconds, idle=0.0) and self._taken(self.faults[-1].holding):
                return True
            time.sleep(LOOK_SECONDS)
        return False

    def _taken(self, holding: Holding | None) -> bool:
        end = time.monotonic() + ZOMBIE_SECONDS
        while holding and not (ended := _has_ended(self.yard, holding)) and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        self.yard.keeper.thaw()
        return holding is not None and ended

    def _draw(self, odds: Mapping[str, float]) -> str:
        return self.dice.choices(list(odds), list(odds.values()))[0]

    def _note(self, what: str, target: str, holding: Holding | None) -> bool:
        self.faults.append(Fault(what, target, datetime.now(UTC), holding))
        return True

    def _victim(self, target: str, chance: float) -> tuple[Process | None, Holding | None]:
        """Somebody of this role whose job can take one more blow; now and then somebody idle, or just starting."""
        family, held = self.yard.roles(), self.holdings()
        pairs = [(one, _held_by(one, family, held)) for one in family if one.role == _ROLE[target]]
        pairs = [(one, holding) for one, holding in pairs if holding is None or not holding.fragile]
        busy = [pair for pair in pairs if pair[1] is not None]
        idle = pairs if self.dice.random() < chance else []
        return self.dice.choice(busy or idle) if busy or idle else (None, None)

    def holdings(self) -> dict[int, Holding]:
        """The running jobs by the process id of their holder; nothing while the record does not answer."""
        table = jobs.c
        running = select(table.id, table.owner, table.attempt, table.no_progress, table.lost)
        try:
            with reading(self.yard.engine) as connection:
                rows = connection.execute(running.where(table.state == "running")).all()
        except Unavailable:
            return {}
        return {
            int(row.owner.rpartition("/")[2]): Holding(row.id, row.attempt, row.no_progress + row.lost) for row in rows
        }


def _held_by(one: Process, family: Iterable[Process], held: Mapping[int, Holding]) -> Holding | None:
    """The job that ends or stalls with this process: its own, its pool's, or its worker's."""
    known = {other.pid: other for other in family}
    if one.role == "main":
        found = [held[o.pid] for o in known.values() if o.part == one.part and o.role == "pool" and o.pid in held]
        return max(found, key=lambda holding: holding.setbacks, default=None)
    while one.role != "pool" and one.parent in known:
        one = known[one.parent]
    return held.get(one.pid)


def _has_ended(yard: Yard, holding: Holding) -> bool:
    """Whether the record has closed this attempt."""
    mine = (attempts.c.job == holding.job, attempts.c.number == holding.attempt)
    with reading(yard.engine) as connection:
        return connection.execute(select(attempts.c.outcome).where(*mine)).scalar() is not None


def recoveries(yard: Yard, faults: Iterable[Fault]) -> dict[str, list[float]]:
    """Seconds from a blow that ended an attempt until the record knew, and until the next attempt ran; by target."""
    found: dict[str, list[float]] = {}
    with reading(yard.engine) as connection:
        rows = {(row.job, row.number): row for row in connection.execute(select(attempts))}
    for fault in faults:
        if fault.holding is None:
            continue
        cut, after = (rows.get((fault.holding.job, fault.holding.attempt + more)) for more in (0, 1))
        if cut is None or after is None or cut.finished_at is None or cut.finished_at < fault.at:
            continue
        name = f"{fault.target} {'killed' if fault.what == 'kill' else 'frozen'}"
        found.setdefault(f"{name}, noticed", []).append((cut.finished_at - fault.at).total_seconds())
        found.setdefault(f"{name}, running again", []).append((after.started_at - fault.at).total_seconds())
    return found


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def tally(faults: Iterable[Fault]) -> dict[str, int]:
    """How many blows of each kind to each target."""
    return dict(sorted(Counter(f"{fault.what} {fault.target}" for fault in faults).items()))


def rest(dice: random.Random, shortest: float, longest: float) -> None:
    """Wait a random time."""
    time.sleep(dice.uniform(shortest, longest))
