"""The database is locked by a stopped process, restarted, or its sessions are cut, while jobs train and are posted."""

import contextlib
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import make_url

from api.wire import Refused, Unreachable
from services.errors import Unavailable
from services.sql.held import writer_of
from tests.chaos.faults import rest
from tests.chaos.quick import USUAL, concluded, moment, spread, timed_submit, warm_up
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.scenarios.kills import run_references
from tests.chaos.yard import Yard, open_yard

KINDS: Final = ("digits", "agent")
LOCKED_SECONDS: Final = 40.0
CATCH_SECONDS: Final = 60.0
GOAL: Final = 30.0
WRITES: Final = {"202", "503"}


@scenario("database", "locked, stopped inside a transaction, cut, restarted", counts={"holds": 4, "cuts": 30})
def run(trial: Trial) -> Findings:
    """SQLite: `holds` processes stopped in a transaction, a foreign lock. PostgreSQL: `cuts`, a third of them kills."""
    mine: dict[str, str] = {}
    with open_yard(trial.folder, trial.database, **USUAL) as yard:
        warm_up(yard)
        references = run_references(yard, KINDS)

        def busy() -> None:
            while len(_live(yard)) < 3:
                kind = trial.dice.choice(KINDS)
                mine[yard.submit(kind)] = references[kind]

        hurt = _hurt_sqlite if trial.database == "sqlite" else _hurt_postgresql
        figures, wrong = hurt(yard, trial, busy)
        figures["jobs"] = len(yard.accepted)
        return concluded(yard, figures, wrong, references=mine)


def _live(yard: Yard) -> list[str]:
    """The jobs that have not ended; asked again until the database answers."""
    while True:
        with contextlib.suppress(Unavailable):
            return yard.live()
        time.sleep(0.1)


def _hurt_sqlite(yard: Yard, trial: Trial, busy: Any) -> tuple[dict[str, Any], dict[str, list[str]]]:
    file, freed = Path(str(make_url(yard.settings.database).database)), list[float]()
    answers: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    for number in range(1, trial.counts["holds"] + 1):
        busy()
        role, pid = _catch(yard, file)
        caught[role] += 1
        began = time.monotonic()
        with _blamed(yard, pid):
            while time.monotonic() - began < LOCKED_SECONDS:
                answer = _post(yard, number)
                answers[answer] += 1
                if answer == "202":
                    break
            freed.append(time.monotonic() - began)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        trial.say(number, trial.counts["holds"], f"{role} held the lock for {freed[-1]:.1f} s")
    busy()
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        end = time.monotonic() + LOCKED_SECONDS
        while time.monotonic() < end:
            answers[_post(yard, 0)] += 1
            yard.client.queue()
    after = timed_submit(yard, moment())[1]
    wrong = {
        "the lock is freed": [f"after {seconds:.1f} s" for seconds in freed if seconds > GOAL],
        "503 while it is locked": [f"{n} posts answered {word}" for word, n in answers.items() if word not in WRITES],
        "posts go on": [f"the first post after the lock took {after:.1f} s"] if after > GOAL else [],
    }
    figures = {
        **{f"stopped in a transaction: {role}": n for role, n in sorted(caught.items())},
        "lock freed after, s": spread(freed), "locked by a stranger, s": LOCKED_SECONDS,
        **{f"posts answered {word}": n for word, n in sorted(answers.items())},
    }  # fmt: skip
    return figures, wrong


@contextlib.contextmanager
def _blamed(yard: Yard, pid: int) -> Iterator[None]:
    """The product kills a stopped process that holds up everybody; if that is a part's main process, we did it."""
    mine = [part for part in yard.parts.values() if part.pid == pid]
    for part in mine:
        part.blame(True)
    yield
    for part in mine:
        if part.pid == pid and part.running:
            part.blame(False)


def _catch(yard: Yard, file: Path) -> tuple[str, int]:
    """Stop one of the product's processes while it holds the write lock: what it is, and its id."""
    end = time.monotonic() + CATCH_SECONDS
    while time.monotonic() < end:
        pid = writer_of(file)
        if pid is None or pid == os.getpid():
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.05)
            if writer_of(file) == pid:
                roles = {one.pid: one.role for one in yard.roles()}
                return roles.get(pid, "api"), pid
            os.kill(pid, signal.SIGCONT)
    raise AssertionError(f"nobody could be stopped inside a transaction in {CATCH_SECONDS:.0f} s")


def _post(yard: Yard, number: int) -> str:
    """Post once: the status of the answer."""
    try:
        yard.accepted.append(yard.client.submit(moment(number)).id)
    except Refused as refused:
        return str(refused.problem.status)
    except Unreachable:
        return "503"
    return "202"


def _hurt_postgresql(yard: Yard, trial: Trial, busy: Any) -> tuple[dict[str, Any], dict[str, list[str]]]:
    faults: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for number in range(1, trial.counts["cuts"] + 1):
        busy()
        rest(trial.dice, 0.2, 1.5)
        fault = ("sessions cut", "sessions cut", "killed")[number % 3]
        faults[fault] += 1
        if fault == "killed":
            yard.parts["database"].kill()
        else:
            _cut(yard)
        answers[_post(yard, number)] += 1
        trial.say(number, trial.counts["cuts"], fault)
    wrong = {"no 500": [f"{n} posts answered {word}" for word, n in answers.items() if word not in WRITES]}
    return {**dict(faults), **{f"posts answered {word}": n for word, n in sorted(answers.items())}}, wrong


def _cut(yard: Yard) -> None:
    url = make_url(yard.settings.database).render_as_string(hide_password=False)
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
