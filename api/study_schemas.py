"""What answers about studies look like."""

from typing import Any, Self, final

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Document, Shape, Time
from services.studies.values import Study, StudyState, TrialRow


@final
class TrialOut(Shape):
    """One trial: what was varied, its job (missing while it waits for its turn), and its score once it is over."""

    number: int
    varied: Document = Field(examples=[{"learning_rate": 0.01, "seed": 42}])
    job: str | None
    state: str = Field(examples=["waiting", "queued", "running", "succeeded", "failed", "cancelled", "deleted"])
    reason: str | None
    message: str | None
    progress: float = Field(description="From 0 to 1.")
    score: float | None = Field(description="The study's metric on the test part.")


class StudyRow(Shape):
    """A study in a list."""

    id: str
    name: str
    labels: list[str]
    type: str = Field(examples=["learning_rates"])
    state: StudyState
    message: str | None
    metric: str = Field(examples=["accuracy"])
    trials: dict[str, int] = Field(description="Trials by state.", examples=[{"succeeded": 5, "running": 2}])
    progress: float = Field(description="The share of the trials that are over, from 0 to 1.")
    verdict: str | None = Field(description="The conclusion in one sentence; missing until the study is over.")
    cancel_requested: bool
    created_at: Time
    finished_at: Time | None

    @classmethod
    def of(cls, study: Study, **more: object) -> Self:
        """From the record's study."""
        own = {f: getattr(study, f) for f in cls.model_fields if hasattr(study, f)}
        verdict = None if study.result is None else study.result["verdict"]
        told = {"labels": list(study.labels), "trials": study.counts, "metric": study.plan["metric"]}
        return cls.model_validate(own | told | {"verdict": verdict} | more)


@final
class StudyOut(StudyRow):
    """A study with everything: the resolved spec, every trial, and what it found out.

    `result` has `verdict`, `certainty` (clear, weak, none), `findings`, `figures`, a table (`columns`, `rows`) and the
    curves (`panels`).
    """

    spec: Document
    table: list[TrialOut]
    result: Document | None
    links: dict[str, str]

    @classmethod
    def full(cls, study: Study, trials: list[TrialRow]) -> "StudyOut":
        """From the record's study and its trials."""
        base = f"/v1/studies/{study.id}"
        links = {"self": base, "jobs": f"/v1/jobs?label=study-{study.id}"}
        links |= {"figure": f"{base}/figure.svg"} if study.result else {}
        return cls.of(study, table=[TrialOut.model_validate(trial) for trial in trials], links=links)


@final
class StudyPage(BaseModel):
    """One page of studies, newest first; ask again with `cursor=next_cursor`."""

    items: list[StudyRow]
    next_cursor: str | None


@final
class StudyPlanOut(BaseModel):
    """What a study would do, without doing it."""

    trials: int
    varied: list[Document] = Field(description="What each trial varies.")
    metric: str
    parallel: int = Field(description="Trials that are queued or run at once, at most.")
    bytes: int = Field(description="Memory of the largest trial.")
    steps: int = Field(description="Steps of all trials.")
    compute_seconds: float | None = Field(description="Training time of all trials; missing until a job has finished.")
    wall_seconds: float | None = Field(description="The same over the workers that fit, several trials at once.")
    workers: list[str] = Field(description="Ids of the workers that the largest trial fits.")
    spec: Document = Field(description="The study with every default filled in.")


@final
class ExtendIn(BaseModel):
    """How a study is to go on."""

    model_config = ConfigDict(extra="forbid")

    seeds: int = Field(ge=1, le=100, description="So many seeds more for every variant.")


def totals(trials: list[dict[str, Any]]) -> tuple[int, int]:
    """Bytes of the largest outline, and steps of all."""
    return max(one["bytes"]["total"] for one in trials), sum(one["total_steps"] for one in trials)
