"""Places in a job, written as users write them: `training.optimizer.learning_rate`, `network.layers[0].units`."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.errors import Invalid, Mistake

_TAKEN: Final = ("seed", "trial")
"""Names that tables of studies give to something else."""
_STEP = re.compile(r"[^.\[\]]+")
_FORM = re.compile(r"[A-Za-z_]\w*(?:\[-?\d+\])*(?:\.[A-Za-z_]\w*(?:\[-?\d+\])*)*")


def changed(job: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the job with other values at some places; Invalid, with every place that the job does not have."""
    made, mistakes = copy.deepcopy(dict(job)), list[Mistake]()
    for place, value in changes.items():
        try:
            _put(made, place, value)
        except (KeyError, IndexError, TypeError, ValueError):
            hint = "Write it as in training.optimizer.learning_rate or network.layers[0].units."
            mistakes.append(Mistake(place, "no_such_place", f"the job has no place {place!r}", hint))
    if mistakes:
        raise Invalid(mistakes)
    return made


def at(job: Mapping[str, Any], place: str, default: Any = None) -> Any:
    """What stands at a place, or `default`."""
    found: Any = job
    try:
        for step in _steps(place):
            found = found[step]
    except (KeyError, IndexError, TypeError, ValueError):
        return default
    return found


def short_names(places: Sequence[str]) -> list[str]:
    """What tables call places: the last word where that is plain, the whole place otherwise."""
    ends = [place.rpartition(".")[2] for place in places]
    plain = [ends.count(end) == 1 and end not in _TAKEN for end in ends]
    return [end if short else place for end, place, short in zip(ends, places, plain, strict=True)]


def _steps(place: str) -> list[int | str]:
    if not _FORM.fullmatch(place):
        raise ValueError(place)
    return [int(step) if step.lstrip("-").isdigit() else step for step in _STEP.findall(place)]


def _put(job: Any, place: str, value: Any) -> None:
    """Set a value; a section that the job leaves out (null) is begun, an entry of a list must be there."""
    *way, last = _steps(place)
    for step in way:
        if isinstance(step, str) and job.get(step) is None:
            job[step] = {}
        # A bare name, such as `optimizer: adam`, is the same as {type: adam}.
        if isinstance(job[step], str):
            job[step] = {"type": job[step]}
        job = job[step]
    if isinstance(last, int):
        _ = job[last]
    elif not isinstance(job, dict):
        raise TypeError(place)
    job[last] = value
