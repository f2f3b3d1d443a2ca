"""One spec with several seeds: the same job again and again, and how far the results lie apart."""

import copy
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from api.client import Client
from api.console import POLL_SECONDS, number, out, table
from api.schemas import JobOut
from services import intervals
from services.documents import from_yaml
from services.errors import Invalid, Mistake
from services.jobs import TERMINAL, JobState

MOST: Final = 100
_SCORES: Final = ("accuracy", "mean_squared_error", "loss")


@final
@dataclass(frozen=True)
class Spread:
    """Scores of several seeds: their mean, and half the width of its 95 % interval."""

    metric: str
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean score."""
        return intervals.mean(self.scores)

    @property
    def half_width(self) -> float | None:
        """t · s / √n, with the sample's deviation s; None for a single score."""
        return intervals.half_width(self.scores)

    def __str__(self) -> str:
        """`accuracy 0.97 ± 0.01 (95 % interval of the mean, 5 seeds; 0.96 to 0.98)`."""
        wide = "" if self.half_width is None else f" ± {number(self.half_width)}"
        ends = f"{number(min(self.scores))} to {number(max(self.scores))}"
        return f"{self.metric} {number(self.mean)}{wide} (95 % interval of the mean, {len(self.scores)} seeds; {ends})"


def variants(text: str, count: int) -> list[dict[str, Any]]:
    """The spec with seeds s, s + 1, …, all under one label of their own."""
    spec = from_yaml(text.encode("utf-8", "surrogatepass"))
    training = spec.get("training") if isinstance(spec, dict) else None
    first = training.get("seed", 0) if isinstance(training, dict) else None
    labels = spec.get("labels", []) if isinstance(spec, dict) else None
    if type(first) is not int or not isinstance(labels, list):
        raise Invalid([Mistake("training.seed", "no_seed", "there is no seed to count from", "Give training.seed: 1.")])
    label = f"seeds-{secrets.token_hex(4)}"
    made = [copy.deepcopy(spec) for _ in range(count)]
    for k, one in enumerate(made):
        one["labels"] = [*labels, label]
        one["training"]["seed"] = first + k
    return made


def score_of(result: Mapping[str, Any] | None) -> tuple[str, float] | None:
    """The figure a result is judged by: its name and value on the test part; None where there is none."""
    test = (result or {}).get("test") or {}
    wanted = ((result or {}).get("baseline") or {}).get("metric")
    for name in (wanted, "episode_return", *_SCORES):
        if isinstance(test.get(name), int | float):
            return str(name), float(test[name])
    return None


def followed(client: Client, ids: Sequence[str], *, quiet: bool) -> list[JobOut]:
    """The jobs, once all are over; each is named when it ends, unless `quiet`."""
    done: dict[str, JobOut] = {}
    while len(done) < len(ids):
        for id in ids:
            if id not in done and (job := client.get(id)).state in TERMINAL:
                done[id] = job
                if not quiet:
                    out.print(_line(job), markup=False, soft_wrap=True)
        if len(done) < len(ids):
            time.sleep(POLL_SECONDS)
    return [done[id] for id in ids]


def spread_of(jobs: Sequence[JobOut]) -> Spread | None:
    """The scores of the jobs that succeeded."""
    found = [score for job in jobs if job.state is JobState.SUCCEEDED and (score := score_of(job.result)) is not None]
    return Spread(found[0][0], tuple(value for _, value in found)) if found else None


def as_json(jobs: Sequence[JobOut], spread: Spread | None) -> dict[str, Any]:
    """Everything for programs."""
    rows = [{"id": job.id, "seed": _seed(job), "state": job.state.value, "score": _value(job)} for job in jobs]
    if spread is None:
        return {"jobs": rows, "metric": None, "mean": None, "half_width": None}
    return {"jobs": rows, "metric": spread.metric, "mean": spread.mean, "half_width": spread.half_width}


def print_seeds(jobs: Sequence[JobOut], spread: Spread | None) -> None:
    """A row a seed, and what they say together."""
    name = spread.metric if spread else "score"
    rows = [(_seed(job), job.state.value, number(_value(job)), job.id) for job in jobs]
    out.print(table(("seed", "state", name, "id"), rows))
    out.print(str(spread) if spread else "no job succeeded", markup=False, soft_wrap=True)


def _line(job: JobOut) -> str:
    score = score_of(job.result)
    return f"seed {_seed(job)}: {job.state}" + (f", {score[0]} {number(score[1])}" if score else "")


def _seed(job: JobOut) -> Any:
    return job.spec["training"]["seed"]


def _value(job: JobOut) -> float | None:
    score = score_of(job.result)
    return None if score is None else score[1]
