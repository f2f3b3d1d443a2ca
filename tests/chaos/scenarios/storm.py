"""Submits from several clients while the API is killed again and again: what was acknowledged is there, once."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, final

from sqlalchemy import func, select

from api.client import Client
from api.wire import Refused, Unreachable
from services.sql.engine import reading
from services.sql.schema import events, idempotency, jobs, outbox
from tests.chaos.faults import quantile
from tests.chaos.kinds import KINDS, spec_of
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.yard import Yard, open_yard

CLIENTS: Final = 8
REPEATED: Final = 20
"""Every so many submits one is sent again after its acknowledgement, as a confused client would."""
LOOK_SECONDS: Final = 0.01
END_SECONDS: Final = 1800.0


@scenario("storm", "submits from 8 clients while the API is killed", counts={"submits": 10_000, "kills": 100})
def run(trial: Trial) -> Findings:
    """Submit everything, kill in between, then compare what clients were told with the record."""
    with open_yard(trial.folder, trial.database, workers=0) as yard:
        return blow(yard, trial)


def blow(yard: Yard, trial: Trial) -> Findings:
    """The storm over a yard whose record is empty."""
    storm = Storm(yard, trial.counts["submits"])
    began = time.monotonic()
    gaps = storm.weather(trial)
    lasted = time.monotonic() - began
    return Findings(violations(yard, storm), figures(yard, storm, gaps, lasted))


@final
@dataclass
class Storm:
    """The clients and what they were told: by number of the submit, the ids of every acknowledgement."""

    yard: Yard
    submits: int
    told: dict[int, list[str]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    given_up: int = 0
    refused: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def weather(self, trial: Trial) -> list[float]:
        """Let the clients go, kill at evenly drawn moments of their progress; seconds without an answer per kill."""
        kills = trial.counts["kills"]
        moments = sorted(trial.dice.randrange(self.submits) for _ in range(kills))
        clients = [threading.Thread(target=self._client, name=f"client-{n}", daemon=True) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        gaps = [self._kill_at(moment, trial, done) for done, moment in enumerate(moments, 1)]
        for client in clients:
            client.join(END_SECONDS)
        return gaps

    def _kill_at(self, moment: int, trial: Trial, done: int) -> float:
        """Kill when so many submits are acknowledged, at once when they are; wait until one more is."""
        self._wait_for(moment)
        before = len(self.told)
        self.yard.parts["api"].kill_main()
        began = time.monotonic()
        self._wait_for(min(before + CLIENTS + 1, self.submits))
        trial.say(done, trial.counts["kills"], f"{len(self.told)} submits acknowledged")
        return time.monotonic() - began

    def _wait_for(self, count: int) -> None:
        end = time.monotonic() + END_SECONDS
        while len(self.told) < count and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)

    def _client(self) -> None:
        with Client(self.yard.url, self.yard.key) as client:
            while (number := next(self._numbers)) < self.submits:
                began = time.monotonic()
                for _ in range(2 if number % REPEATED == 0 else 1):
                    self._insist(client, number)
                self.seconds.append(time.monotonic() - began)

    def _insist(self, client: Client, number: int) -> None:
        """One submit under one key until it is acknowledged; a client that gives up is asked again by its user."""
        spec = spec_of(KINDS[0], 1) | {"name": f"storm-{number}"}
        while True:
            try:
                id = client.submit(spec, idempotency_key=f"storm-{number}").id
                break
            except Unreachable:
                self.given_up += 1
            except Refused as refusal:
                if refusal.problem.status < 500:
                    self.refused.append(f"submit {number}: {refusal}")
                    return
                self.given_up += 1
        with self._lock:
            self.told.setdefault(number, []).append(id)


def violations(yard: Yard, storm: Storm) -> dict[str, list[str]]:
    """What clients were told against what the record holds."""
    with reading(yard.engine) as connection:
        rows = connection.execute(select(jobs.c.id, jobs.c.name)).all()
        keys = connection.execute(select(func.count()).select_from(idempotency)).scalar_one()
        bells = connection.execute(select(func.count()).select_from(outbox)).scalar_one()
        born = Counter(connection.execute(select(events.c.job)).scalars())
    known, names = {row.id for row in rows}, Counter(row.name for row in rows)
    told = [(number, id) for number, ids in storm.told.items() for id in ids]
    found = {
        "acknowledged is there": [f"submit {number}: {id}" for number, id in told if id not in known],
        "one key, one job": [f"{name}: {count} jobs" for name, count in names.items() if count > 1]
        + [f"submit {n} was told {sorted(set(ids))}" for n, ids in storm.told.items() if len(set(ids)) > 1],
        "everything is accounted for": [f"submit {n} was never answered" for n in range(storm.submits)
                                        if n not in storm.told],
        "each job is whole": [f"{row.id}: {born[row.id]} events" for row in rows if born[row.id] != 1],
        "nothing is refused": storm.refused,
    }  # fmt: skip
    if not len(rows) == keys == bells:
        found["each job is whole"].append(f"{len(rows)} jobs, {keys} keys, {bells} bells")
    return {rule: words for rule, words in found.items() if words}


def figures(yard: Yard, storm: Storm, gaps: list[float], lasted: float) -> dict[str, Any]:
    """Counts, and how long clients waited."""
    return {
        "submits acknowledged": len(storm.told),
        "answers under a key used before": sum(len(ids) - 1 for ids in storm.told.values()),
        "kills of the API": len(gaps),
        "restarts": yard.keeper.restarts,
        "clients that gave up and were asked again": storm.given_up,
        "submits per second": round(len(storm.told) / lasted, 1),
        "submit, seconds": {name: round(quantile(storm.seconds, share), 3)
                            for name, share in (("p50", 0.5), ("p99", 0.99), ("worst", 1.0))},
        "kill to the next answers, seconds": {name: round(quantile(gaps, share), 2)
                                              for name, share in (("p50", 0.5), ("worst", 1.0))} if gaps else {},
    }  # fmt: skip
