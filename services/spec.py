"""From what a user sends to a job spec, with every mistake found at once; and what a user may send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from services import datasets
from services.documents import from_yaml
from services.errors import Invalid, Mistake
from services.job_spec import (
    ACTIVATIONS,
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    PREPROCESSING,
    SCHEDULE_FAMILY,
    SECTIONS,
    JobSpec,
    job_schema,
)
from services.metrics import METRICS
from services.mistakes import mistakes_of
from services.preflight import review

__all__ = ["catalog", "job_schema", "parse_job"]


def parse_job(data: Mapping[str, Any] | str) -> JobSpec:
    """A job spec from a mapping or from YAML text. Invalid carries every mistake: form, names, shapes and sense."""
    if isinstance(data, str):
        data = from_yaml(data.encode("utf-8", "surrogatepass"))
    if not isinstance(data, Mapping):
        hint = "Begin with task:, dataset:, network: and training:."
        raise Invalid([Mistake("", "not_an_object", "a job is an object with named parts", hint)])
    try:
        spec = JobSpec.model_validate(data)
    except ValidationError as error:
        raise Invalid(mistakes_of(error, JobSpec) + _sense(data)) from error
    mistakes, _ = review(spec.task, spec.dataset, spec.network, spec.training)
    if mistakes:
        raise Invalid(mistakes)
    return spec


def _sense(data: Mapping[str, Any]) -> list[Mistake]:
    """What is wrong with the meaning of those parts whose form is right."""
    parts = {name: _part(model, data.get(name)) for name, model in SECTIONS.items()}
    task = data.get("task") if isinstance(data.get("task"), str) else None
    known_task = task if task in get_args(JobSpec.model_fields["task"].annotation) else None
    mistakes, _ = review(known_task, parts["dataset"], parts["network"], parts["training"])  # type: ignore[arg-type]
    return mistakes


def _part(model: type[BaseModel], data: Any) -> BaseModel | None:
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def catalog() -> dict[str, Any]:
    """Everything a spec may name, with documentation and the JSON Schema of its fields."""
    return {
        "layers": LAYERS.describe(),
        "activations": ACTIVATIONS.describe(),
        "losses": LOSSES.describe(),
        "optimizers": OPTIMIZERS.describe(),
        "learning_rate_schedules": SCHEDULE_FAMILY.describe(),
        "preprocessing": PREPROCESSING.describe(),
        "metrics": [
            {"type": m.name, "aliases": list(m.aliases), "doc": m.formula, "better": m.better} for m in METRICS.values()
        ],
        "datasets": [_card(card) for card in datasets.cards().values()],
    }


def _card(card: datasets.Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "title": card.title,
        "doc": card.description,
        "kind": card.kind,
        "tasks": list(card.tasks),
        "input_shape": list(card.input_shape),
        "classes": None if card.classes is None else list(card.classes),
        "rows": {"train": card.train, "test": card.test},
        "source": card.source,
        "license": card.license,
        "download_bytes": card.download_bytes,
    }
