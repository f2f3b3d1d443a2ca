"""A retry: a finished job's spec with changes, and whether its checkpoint still fits them.

A checkpoint is weights, the optimizer's slots, and a place in the data's order. It stays valid as long as network, kind
of optimizer, data and the order of rows are the same; how long and how fast to go on may change.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from pydantic import ValidationError

from services.agents.spec import TASK, ReinforcementSpec
from services.errors import Invalid, Mistake
from services.job_spec import OPTIMIZERS, JobSpec

From: TypeAlias = Literal["checkpoint", "start"]

FREE: Final = frozenset({"name", "labels", "resources", "reliability", "baseline", "schema"})
"""Sections that have nothing to do with what is trained."""
ONWARD: Final = frozenset(
    {
        "training.epochs",
        "training.total_timesteps",
        "training.early_stopping",
        "training.optimizer",
        "training.learning_rate_schedule",
        "training.clipnorm",
        "training.global_clipnorm",
        "training.clipvalue",
    }
)
"""What may change in the middle of a training; all the rest of a spec may not."""
REMEDY: Final = "Set from: start to begin anew, or leave this as it was."


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396): objects are merged key by key, null removes a key, anything else replaces."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    found = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def begins_from(wanted: From | None, there_is_one: bool, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a retry goes on from the checkpoint. Invalid where it should, but the change does not let it.

    Not asked for either, it goes on where there is a checkpoint. `before` and `after` are resolved specs.
    """
    if wanted == "start" or (wanted is None and not there_is_one):
        return False
    if mistakes := list(hindrances(as_now(before), after)):
        raise Invalid(mistakes)
    return True


def as_now(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored spec with the defaults of today's version, so that a key that is new does not look like a change."""
    model: type[JobSpec | ReinforcementSpec] = ReinforcementSpec if spec.get("task") == TASK else JobSpec
    try:
        return model.model_validate(spec).resolved()
    except ValidationError:
        return spec


def hindrances(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Mistake]:
    """Every change that a checkpoint does not survive."""
    for path in changed(before, after):
        section = path.split(".", 1)[0].split("[", 1)[0]
        if section in FREE:
            continue
        key = ".".join(path.split(".")[:2])
        if key not in ONWARD:
            yield _refusal(path, "the checkpoint was made with another value here")
    yield from _optimizer(before, after)
    old, new = (spec["training"].get("total_timesteps") for spec in (before, after))
    if old is not None and new is not None and new < old:
        message = "the checkpoint's memory is laid out for more timesteps"
        yield _refusal("training.total_timesteps", message, f"Take {old} or more, or set from: start.")


def _refusal(path: str, message: str, hint: str = REMEDY) -> Mistake:
    return Mistake(path, "needs_fresh_start", message, hint)


def _optimizer(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Mistake]:
    """Another kind of optimizer keeps other numbers beside the weights; so may another setting of the same kind."""
    old, new = (OPTIMIZERS.build(OPTIMIZERS.validated(spec["training"]["optimizer"])) for spec in (before, after))
    if old.type != new.type:
        message = f"the checkpoint holds the state of {old.type}, not of {new.type}"
        yield _refusal("training.optimizer.type", message)
    elif list(old.slots()) != list(new.slots()):
        message = f"so set, {new.type} keeps {_named(new.slots())}; the checkpoint holds {_named(old.slots())}"
        yield _refusal("training.optimizer", message)


def _named(slots: Any) -> str:
    return ", ".join(map(str, slots)) or "nothing"


def changed(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths at which two documents differ: as deep as both have objects, lists as a whole but for their entries."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from changed(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from changed(old, new, f"{path}[{place}]")
    elif before != after:
        yield path
