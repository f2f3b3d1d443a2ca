"""From what a user sends to a job spec, with every mistake found at once; and what a user may send."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from services import datasets
from services.agents import spec as agents
from services.agents.review import AgentPreflight, check_agent, review_agent
from services.documents import from_yaml
from services.errors import Invalid, Mistake
from services.job_spec import (
    ACTIVATIONS,
    LAYERS,
    LOSSES,
    NOISE_FAMILY,
    OPTIMIZERS,
    PREPROCESSING,
    SCHEDULE_FAMILY,
    SECTIONS,
    JobSpec,
    TrainingSpec,
)
from services.library import BUILT_IN, Library
from services.metrics import METRICS
from services.mistakes import mistakes_of
from services.preflight import Preflight, check, review

__all__ = ["catalog", "check_job", "job_schema", "parse_job"]


@cache
def job_schema() -> dict[str, Any]:
    """The JSON Schema of a job spec."""
    return agents.schema_of_jobs()


def check_job(spec: agents.AnyJobSpec, library: Library = BUILT_IN) -> Preflight | AgentPreflight:
    """The preflight of a well-formed spec of either kind; Invalid with every mistake."""
    return check_agent(spec) if isinstance(spec, agents.ReinforcementSpec) else check(spec, library)


def parse_job(data: Mapping[str, Any] | str, library: Library = BUILT_IN) -> agents.AnyJobSpec:
    """A job spec from a mapping or from YAML text. Invalid carries every mistake: form, names, shapes and sense.

    `library` is what its section `dataset` may refer to; an upload is pinned to its id and content."""
    if isinstance(data, str):
        data = from_yaml(data.encode("utf-8", "surrogatepass"))
    if not isinstance(data, Mapping):
        hint = "Begin with task:, dataset:, network: and training:."
        raise Invalid([Mistake("", "not_an_object", "a job is an object with named parts", hint)])
    if data.get("task") == agents.TASK:
        return _parse_agent(data)
    try:
        spec = JobSpec.model_validate(data)
    except ValidationError as error:
        form = agents.explained(mistakes_of(error, JobSpec), reinforcement=False)
        raise Invalid(form + _sense(data, library)) from error
    mistakes, _ = review(spec.task, spec.dataset, spec.network, spec.training, library=library)
    if mistakes:
        raise Invalid(mistakes)
    return spec.model_copy(update={"dataset": library.pinned(spec.dataset)})


def _parse_agent(data: Mapping[str, Any]) -> agents.ReinforcementSpec:
    """A reinforcement job, whose sections are others."""
    try:
        spec = agents.ReinforcementSpec.model_validate(data)
    except ValidationError as error:
        form = agents.explained(mistakes_of(error, agents.ReinforcementSpec), reinforcement=True)
        network = _sound_part("network", data.get("network"))
        whole = network is not None and len(network.layers) == len(data["network"]["layers"])
        place, training = (_part(agents.SECTIONS[name], data.get(name)) for name in ("environment", "training"))
        try:
            agent = agents.AGENTS.validated(data.get("agent"))
        except ValidationError:
            agent = None
        raise Invalid(form + review_agent(place, agent, network, training, whole=whole)[0]) from error  # type: ignore[arg-type]
    check_agent(spec)
    return spec


def _sense(data: Mapping[str, Any], library: Library) -> list[Mistake]:
    """What is wrong with the meaning of everything whose form is right."""
    dataset, network, training = (_sound_part(name, data.get(name)) for name in ("dataset", "network", "training"))
    task = data.get("task") if data.get("task") in get_args(JobSpec.model_fields["task"].annotation) else None
    whole = network is not None and len(network.layers) == len(data["network"]["layers"])
    mistakes, _ = review(task, dataset, network, training, whole=whole, library=library)
    return mistakes


def _sound_part(name: str, data: Any) -> Any:
    """A section without what is wrong in it: bad fields left out, a network up to its first bad layer."""
    model = SECTIONS[name]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        wrong = [finding["loc"] for finding in error.errors()]
    if not isinstance(data, Mapping) or not all(wrong):
        return None
    bad_fields = {place[0] for place in wrong}
    kept = {key: value for key, value in data.items() if key not in bad_fields}
    bad_layers = [place[1] for place in wrong if place[0] == "layers" and len(place) > 1]
    if bad_layers:
        kept["layers"] = data["layers"][: min(bad_layers)]
    return _part(model, kept) if name != "training" else _sound_training(kept, data)


def _sound_training(kept: dict[str, Any], data: Mapping[str, Any]) -> Any:
    """Training from its sound fields; a bad loss is None, so that nothing is said about what fits it."""
    if kept.get("metrics") != data.get("metrics"):
        kept.pop("early_stopping", None)
    found = _part(TrainingSpec, {"loss": "mean_squared_error", "optimizer": "sgd"} | kept)
    return found.model_copy(update={"loss": None}) if found is not None and "loss" not in kept else found


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
        "noises": NOISE_FAMILY.describe(),
        "metrics": [
            {"type": m.name, "aliases": list(m.aliases), "doc": m.formula, "better": m.better} for m in METRICS.values()
        ],
        "datasets": [_card(card) for card in datasets.cards().values()],
        **agents.agent_catalog(),
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
