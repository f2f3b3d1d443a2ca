"""The broker is emptied, restarted, killed, frozen, cut off, filled up and locked while jobs are posted."""

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import redis

from tests.chaos.faults import rest
from tests.chaos.quick import USUAL, concluded, moment, spread, starts, timed_submit, warm_up
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.yard import Yard, open_yard

START_GOAL: Final = 15.0
SUBMIT_GOAL: Final = 2.0
FROZEN_SECONDS: Final = 8.0
"""Longer than the sockets wait (5 s)."""
SHORT_SECONDS: Final = 3.0


@scenario(
    "redis",
    "the broker flushed, restarted, killed, frozen, full, locked",
    counts={"flushes": 100, "restarts": 100, "others": 20},
    databases=("sqlite",),
)
def run(trial: Trial) -> Findings:
    """One fault after the other, a job posted right before and right after each."""
    faults = {"flushes": [flush], "restarts": [restart, kill], "others": [freeze, hang_up, fill, lock]}
    deck = [kinds[number % len(kinds)] for name, kinds in faults.items() for number in range(trial.counts.get(name, 0))]
    trial.dice.shuffle(deck)
    acknowledged: list[float] = []
    back: dict[str, float] = {}
    with open_yard(trial.folder, **USUAL) as yard:
        warm_up(yard)
        for number, fault in enumerate(deck, 1):
            mine = []
            for step in (fault, None):
                id, seconds = timed_submit(yard, moment(number))
                acknowledged.append(seconds)
                mine.append(id)
                if step:
                    step(yard)
            back |= dict.fromkeys(mine, time.time())
            trial.say(number, len(deck), f"{len(yard.accepted)} jobs posted")
            rest(trial.dice, 0.1, 0.9)
        yard.wait(seconds=120)
        waited = {id: start - max(posted, back[id]) for id, (posted, start) in starts(yard).items() if id in back}
        slow = [f"job {id} started {seconds:.1f} s late" for id, seconds in waited.items() if seconds > START_GOAL]
        stuck = [f"a post took {seconds:.1f} s" for seconds in acknowledged if seconds > SUBMIT_GOAL]
        figures = _figures(yard, deck, waited, acknowledged)
        return concluded(yard, figures, {"started in time": slow, "posts wait for no broker": stuck})


def _figures(
    yard: Yard, deck: list[Callable[[Yard], None]], waited: dict[str, float], acknowledged: list[float]
) -> dict[str, Any]:
    names = [fault.__name__ for fault in deck]
    return {
        "jobs": len(yard.accepted), **{name: names.count(name) for name in sorted(set(names))},
        "start after the fault, s": spread([max(0.0, seconds) for seconds in waited.values()]),
        "post acknowledged, s": spread(acknowledged),
    }  # fmt: skip


def _line(yard: Yard) -> "redis.Redis[Any]":
    return redis.Redis.from_url(yard.broker_url, socket_timeout=2, socket_connect_timeout=2)


def _tell(yard: Yard, *words: str) -> None:
    with contextlib.suppress(redis.RedisError), _line(yard) as line:
        line.execute_command(*words)


def flush(yard: Yard) -> None:
    """Everything is forgotten, the bindings of the queues too."""
    _tell(yard, "FLUSHALL")


def restart(yard: Yard) -> None:
    """An orderly end; the keeper starts it again."""
    yard.parts["broker"].terminate()


def kill(yard: Yard) -> None:
    """A disorderly end."""
    yard.parts["broker"].kill()


def freeze(yard: Yard) -> None:
    """It does not answer for a while, and its connections stay open."""
    yard.parts["broker"].freeze(FROZEN_SECONDS)
    time.sleep(FROZEN_SECONDS)


def hang_up(yard: Yard) -> None:
    """Every connection is cut."""
    _tell(yard, "CLIENT", "KILL", "TYPE", "normal")


def fill(yard: Yard) -> None:
    """No memory for another message for a while."""
    _tell(yard, "CONFIG", "SET", "maxmemory", "1")
    time.sleep(SHORT_SECONDS)
    _tell(yard, "CONFIG", "SET", "maxmemory", "0")


def lock(yard: Yard) -> None:
    """Another password for a while, and everybody has to say it again."""
    password = yard.broker_url.split(":")[2].partition("@")[0]
    _tell(yard, "CONFIG", "SET", "requirepass", "another")
    _tell(yard, "CLIENT", "KILL", "TYPE", "normal")
    time.sleep(SHORT_SECONDS)
    with contextlib.suppress(redis.RedisError):
        other = yard.broker_url.replace(password, "another")
        with redis.Redis.from_url(other, socket_timeout=2) as line:
            line.execute_command("CONFIG", "SET", "requirepass", password)
