"""From what a user sends to the trials of a study, with every mistake found at once."""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Final, Literal, cast, final

from annotated_types import Interval
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from kernels.registry import Registry
from services.agents.spec import TASK as REINFORCEMENT
from services.documents import from_yaml
from services.errors import Invalid, Mistake, NotFound, did_you_mean
from services.job_spec import Label
from services.library import BUILT_IN, Library
from services.members import Family
from services.metrics import metric
from services.mistakes import mistakes_of
from services.spec import check_job, job_schema, parse_job
from services.sql.types import to_json
from services.studies.kind import Base, Kind, Trial, Variant
from services.studies.places import at, changed

SCHEMA: Final = "trainyard-study/v1"
MOST_TRIALS: Final = 500
MOST_LABELS: Final = 15
"""One fewer than a job may have: a trial carries the label of its study too."""
_TOLD: Final = 20
_METRICS: Final = {"classification": "accuracy", "regression": "mean_squared_error",
                   "forecasting": "mean_squared_error", REINFORCEMENT: "episode_return"}  # fmt: skip
_LOWER: Final = ("loss",)
_HIGHER: Final = ("episode_return",)

kinds: Registry[Kind] = Registry("services.studies.kinds", Kind, "study")  # type: ignore[type-abstract]


def _common(cls: type[Kind]) -> dict[str, Any]:
    """What every study may say beside what its kind may."""
    text = Annotated[str, StringConstraints(min_length=1, max_length=128)]
    return {
        "version": (Literal[SCHEMA], Field(default=SCHEMA, alias="schema")),
        "name": (text, Field(default="study")),
        "labels": (Annotated[list[Label], Field(max_length=MOST_LABELS)], Field(default=[])),
        "job": (dict[str, Any], Field(description="The job that is varied.")),
        "seeds": (
            Annotated[int, Interval(ge=1, le=100)],
            Field(default=cls.default_seeds, description="So many seeds for each variant, counted from the job's."),
        ),
        "metric": (
            Annotated[str, StringConstraints(min_length=1, max_length=64)] | None,
            Field(default=None, description="What trials are judged by; the task's usual metric by default."),
        ),
        "parallel": (
            Annotated[int, Interval(ge=1, le=256)],
            Field(default=8, description="Trials that are queued or run at once, at most."),
        ),
    }


@cache
def family() -> Family:
    """Every kind of study, as strict models."""
    return Family("study", kinds.members, kinds.names, _common)


@cache
def study_schema() -> dict[str, Any]:
    """The JSON Schema of a study."""
    found: dict[str, Any] = copy.deepcopy(TypeAdapter(family().annotation()).json_schema(by_alias=True))
    inner = found.setdefault("$defs", {})
    job = copy.deepcopy(job_schema())
    inner |= job.pop("$defs", {})
    inner["Job"] = job
    for model in inner.values():
        properties = model.get("properties", {})
        if properties.get("schema", {}).get("const") == SCHEMA:
            properties["job"] = {"$ref": "#/$defs/Job", "description": "The job that is varied."}
    # A study is always an object: the bare name of a kind has no job.
    found["anyOf"] = [one for one in found.get("anyOf", []) if "enum" not in one and "const" not in one]
    return found


@final
@dataclass(frozen=True)
class Planned:
    """A study that can run: its kind, its base and its first trials, none of them started. `probes` are never run."""

    kind: Kind
    base: Base
    spec: Mapping[str, Any]
    trials: Sequence[Trial]
    probes: Sequence[Trial] = ()

    @property
    def count(self) -> int:
        """How many trials there will be in the end."""
        return int(self.kind.count(self.base) * self.spec["seeds"])

    @property
    def plan(self) -> dict[str, Any]:
        """What is recorded of the base beside the spec."""
        told = {"outline": dict(self.base.outline), "metric": self.base.metric, "better": self.base.better}
        return told | {"trials": self.count}


def kind_of(spec: Mapping[str, Any]) -> Kind:
    """The kind that a resolved spec names."""
    found = family()
    return cast(Kind, found.build(found.model(kinds[spec["type"]]).model_validate(spec)))


def base_of(spec: Mapping[str, Any], plan: Mapping[str, Any]) -> Base:
    """The base of a recorded study."""
    return Base(spec["job"], plan["outline"], plan["metric"], plan["better"])


def key_of(varied: Mapping[str, Any]) -> str:
    """What makes a trial the same trial, whatever its number."""
    return hashlib.sha256(to_json(sorted(varied.items())).encode()).hexdigest()


def parse_study(data: Mapping[str, Any] | str, library: Library = BUILT_IN) -> Planned:
    """A study with all its trials from a mapping or from YAML text; Invalid carries every mistake."""
    if isinstance(data, str):
        data = from_yaml(data.encode("utf-8", "surrogatepass"))
    if not isinstance(data, Mapping):
        hint = "Begin with type: and job:."
        raise Invalid([Mistake("", "not_an_object", "a study is an object with named parts", hint)])
    mistakes, model = _form(family().normalise(data))
    job, outline = _job(data.get("job"), library, mistakes)
    if model is None or job is None:
        raise Invalid(mistakes)
    kind: Kind = family().build(model)
    base = _base(job, outline, model.metric, library, mistakes)  # type: ignore[attr-defined]
    if job["task"] not in kind.tasks:
        hint = f"It is for {', '.join(kind.tasks)}."
        mistakes.append(Mistake("job.task", "task_unfit", f"a study {kind.type} cannot vary {job['task']}", hint))
    if mistakes or base is None:
        raise Invalid(mistakes)
    if wrong := kind.mistakes(base):
        raise Invalid(wrong)
    spec = model.model_dump(mode="json", by_alias=True) | {"job": dict(base.job), "metric": base.metric}
    return Planned(kind, base, spec, *_trials(kind, base, spec, library))


def _form(data: Mapping[str, Any]) -> tuple[list[Mistake], BaseModel | None]:
    """The study as a model, or what is wrong with its form; the job in it is looked at elsewhere."""
    name = data.get("type")
    if not isinstance(name, str) or name not in kinds.members:
        said = "is missing" if name is None else f"there is no study {name!r}"
        code = "missing" if name is None else "unknown_name"
        return [Mistake("type", code, said, did_you_mean(str(name or ""), kinds.members))], None
    model = family().model(kinds.members[name])
    try:
        return [], model.model_validate(data)
    except ValidationError as error:
        found = mistakes_of(error, model)
        # A list that is too short only because its entries are wrong; a job, whose mistakes are said in its own words.
        places = [one.path for one in found]
        echoes = {p for p in places if any(other.startswith(f"{p}[") for other in places)} | ({"job"} & data.keys())
        return [one for one in found if one.path not in echoes], None


def _job(data: Any, library: Library, mistakes: list[Mistake]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The resolved job and its outline; its mistakes go to the others, with paths in the study."""
    if data is None:
        return None, {}
    if not isinstance(data, Mapping):
        mistakes.append(Mistake("job", "not_an_object", "needs named parts (key: value)"))
        return None, {}
    try:
        spec = parse_job(data, library)
        return spec.resolved(), check_job(spec, library).outline
    except Invalid as error:
        mistakes += [replace(one, path=f"job.{one.path}" if one.path else "job") for one in error.mistakes]
        return None, {}


def _base(
    job: dict[str, Any], outline: Mapping[str, Any], wanted: str | None, library: Library, mistakes: list[Mistake]
) -> Base | None:
    """The base with its metric, which every trial then measures; measuring changes nothing in the training."""
    name = wanted or _METRICS.get(job["task"], "loss")
    if name in _LOWER or name in _HIGHER or name in outline["metrics"]:
        better = "min" if name in _LOWER else "max" if name in _HIGHER else metric(name).better
        return Base(job, outline, name, better)
    try:
        name = metric(name).name
        measured = changed(job, {"training.metrics": [*outline["metrics"], name]})
        return Base(parse_job(measured, library).resolved(), outline, name, metric(name).better)
    except NotFound as error:
        mistakes.append(Mistake("metric", "unknown_name", error.message, error.hint))
    except Invalid as error:
        first = error.mistakes[0]
        mistakes.append(Mistake("metric", first.code, first.message, first.hint))
    return None


def next_trials(
    spec: Mapping[str, Any], plan: Mapping[str, Any], trials: Sequence[Trial], library: Library
) -> list[Trial]:
    """What a recorded study runs next, now that `trials` are over; one whose job is wrong has failed already."""
    kind, base, found = kind_of(spec), base_of(spec, plan), list[Trial]()
    for variant, seed in itertools.product(kind.further(base, trials), range(spec["seeds"])):
        number = len(trials) + len(found)
        try:
            found.append(_trial(number, kind, base, spec, variant, seed, library))
        except Invalid as error:
            told = "; ".join(f"{one.path}: {one.message}" for one in error.mistakes)
            varied = {**variant.varied, "seed": _seeds(kind, base, seed)[kind.seeded[0]]}
            outcome: dict[str, Any] = {"state": "failed", "reason": None, "message": told, "series": {}}
            found.append(Trial(number, varied, {}, {}, None, "failed", outcome))
    return found


def _trials(kind: Kind, base: Base, spec: Mapping[str, Any], library: Library) -> tuple[list[Trial], list[Trial]]:
    """Every variant with every seed, and every probe, checked like a job of its own."""
    variants, seeds, count = kind.variants(base), range(spec["seeds"]), kind.count(base)
    if count * len(seeds) > MOST_TRIALS:
        message = f"{count} variants with {len(seeds)} seeds are {count * len(seeds)} trials"
        raise Invalid([Mistake("", "too_many", message, f"A study has at most {MOST_TRIALS}.")])
    mistakes = list[Mistake]()

    def checked(wanted: Iterable[tuple[Variant, int]]) -> Iterator[Trial]:
        for number, (variant, seed) in enumerate(wanted):
            try:
                yield _trial(number, kind, base, spec, variant, seed, library)
            except Invalid as error:
                mistakes.extend(_told(variant, error))

    found = list(checked(itertools.product(variants, seeds)))
    probes = list(checked((variant, 0) for variant in kind.probes(base)))
    if mistakes:
        raise Invalid(list(dict.fromkeys(mistakes))[:_TOLD])
    return found, probes


def _seeds(kind: Kind, base: Base, seed: int) -> dict[str, int]:
    return {place: int(at(base.job, place, 0)) + seed for place in kind.seeded}


def _trial(
    number: int, kind: Kind, base: Base, spec: Mapping[str, Any], variant: Variant, seed: int, library: Library
) -> Trial:
    seeds = _seeds(kind, base, seed)
    varied = {**variant.varied, "seed": seeds[kind.seeded[0]]}
    scored = base.job["baseline"] if kind.compares or number == 0 else False
    words = ", ".join(f"{name} {value}" for name, value in varied.items())
    told = {"name": f"{spec['name']}: {words}"[:128], "labels": spec["labels"], "baseline": scored}
    # What the variant says about the baseline stands above what the study says.
    job = parse_job(changed(base.job, {**told, **seeds, **variant.changes}), library)
    return Trial(number, varied, job.resolved(), check_job(job, library).outline, None, "waiting", None)


def _told(variant: Variant, error: Invalid) -> Iterator[Mistake]:
    """A trial's mistakes with the values that led to them."""
    words = ", ".join(f"{name}: {value}" for name, value in variant.varied.items())
    for one in error.mistakes:
        yield replace(one, path=f"job.{one.path}", message=f"with {words}: {one.message}")
