"""Races over one job: a user cancels while its holder finishes or dies, a reaper takes it and a worker claims it."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, final

from sqlalchemy import Engine

from services.errors import AlreadyFinished, LeaseLost
from services.jobs import TERMINAL, Job, JobState, JobStore
from services.lease import Lease

RIVALS: Final = ("succeed", "fail", "die", "reap", "claim", "beat")
MOST_SETTLING: Final = 10


@final
@dataclass
class Race:
    """One job, and everybody who wants something of it at the same moment."""

    store: JobStore
    job: Job
    lease: Lease | None
    leases: list[Lease] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def run(self, rivals: list[str]) -> None:
        """Let all rivals go at once and keep what each was answered."""
        barrier = threading.Barrier(len(rivals))

        def act(name: str) -> None:
            barrier.wait()
            try:
                self.answers[name] = self._act(name)
            except (AlreadyFinished, LeaseLost) as refused:
                self.answers[name] = refused

        threads = [threading.Thread(target=act, args=(name,)) for name in rivals]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _act(self, name: str) -> Any:
        if name == "cancel":
            return self.store.request_cancel("t", self.job.id).state
        if name == "claim":
            return self._claim()
        lease = self.lease or Lease(self.store.engine, self.job, None)
        acts: dict[str, Callable[[], Any]] = {
            "succeed": lambda: lease.succeed("completed", {}, []) or JobState.SUCCEEDED,
            "fail": lambda: lease.fail("data_error", "why") or JobState.FAILED,
            "die": lambda: lease.requeue("exit -9", True, 0),
            "reap": self._reap,
            "beat": lease.beat,
        }
        return acts[name]()

    def _claim(self) -> Lease | None:
        lease = Lease.claim(self.store.engine, "rival", {"cpu"})
        if lease is not None:
            self.leases.append(lease)
        return lease

    def _reap(self) -> JobState | None:
        pulse = next((pulse for pulse in self.store.pulses() if pulse.job == self.job.id), None)
        return pulse and self.store.reap(pulse.job, pulse.attempt, pulse.beats, delay=0)

    def settle(self) -> JobState:
        """Do what workers do until the job has ended: heed the wish to cancel, else finish."""
        for _ in range(MOST_SETTLING):
            job = self.store.get("t", self.job.id)
            if job.terminal:
                return job.state
            if job.state is JobState.QUEUED:
                assert not job.cancel_requested, "a wish to cancel waits in the queue"
                self._claim()
            elif holder := next((one for one in self.leases if one.attempt == job.attempt), self.lease):
                holder.cancelled() if holder.beat().cancel else holder.succeed("completed", {}, [])
        raise AssertionError(f"job {self.job.id} does not end")


def one_race(engine: Engine, dice: random.Random) -> tuple[str, list[str]]:
    """Run one race: what came of it in words, and what was wrong with it."""
    store = JobStore(engine)
    job, _ = store.submit("t", {}, {})
    lease = Lease.claim(engine, "holder", {"cpu"}) if dice.random() < 0.8 else None
    race = Race(store, store.get("t", job.id), lease, [lease] if lease else [])
    rivals = ["cancel", *dice.sample(RIVALS, dice.randint(1, 4))]
    race.run(rivals)
    between = store.get("t", job.id).state
    final_state = race.settle()
    return f"cancel answered {_word(race.answers['cancel'])}, ended {final_state}", _wrong(race, between, final_state)


def _word(answer: Any) -> str:
    return type(answer).__name__ if isinstance(answer, Exception) else str(answer)


def _wrong(race: Race, between: JobState, ended: JobState) -> list[str]:
    """What contradicts the answer that the user got, or the rules."""
    found, answer = [], race.answers["cancel"]
    finished = [name for name in ("succeed", "fail") if isinstance(race.answers.get(name), JobState)]
    if isinstance(answer, AlreadyFinished):
        if not finished or ended is JobState.CANCELLED:
            found.append(f"told already finished, but it ended {ended}; finished by {finished}")
    elif answer in TERMINAL and answer != ended:
        found.append(f"told {answer}, ended {ended}")
    elif ended is not JobState.CANCELLED and not finished:
        found.append(f"told {answer}, ended {ended}, though nobody had finished it")
    if between in TERMINAL and between != ended:
        found.append(f"was {between}, then {ended}: revived")
    said = [event.data["state"] for event in race.store.events("t", race.job.id) if event.kind == "state"]
    finals = [state for state in said if state in TERMINAL]
    if len(finals) != 1 or said[-1] != finals[0]:
        found.append(f"state events {said}")
    return [f"job {race.job.id} ({', '.join(race.answers)}): {words}" for words in found]


def races(
    engine: Engine, rounds: int, dice: random.Random, say: Callable[[int], None]
) -> tuple[Counter[str], list[str]]:
    """So many races: how often each thing came of them, and everything that was wrong."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(1, rounds + 1):
        outcome, found = one_race(engine, dice)
        outcomes[outcome] += 1
        wrong += found
        say(number)
    return outcomes, wrong
