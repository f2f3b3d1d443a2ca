"""The space that a search looks through: an axis for each place in the job."""

import math
from typing import Annotated, Any, Literal, final

from annotated_types import Len

from services.errors import Invalid, Mistake
from services.job_spec import Section
from services.studies.kind import Base
from services.studies.places import changed
from services.studies.words import number


@final
class Axis(Section):
    """What one place may be: a number from `low` to `high` (whole where both are whole), or one of `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    scale: Literal["linear", "log"] = "linear"
    choices: Annotated[list[Any], Len(2, 50)] | None = None

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(value, int) for value in (self.low, self.high)) and not isinstance(self.step, float)

    @property
    def corners(self) -> list[Any]:
        """Values that must be right if all are: both ends, or every choice."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]

    def holds(self, value: Any) -> bool:
        """Whether the axis could suggest this value, steps aside."""
        if self.choices is not None:
            return value in self.choices
        if self.low is None or self.high is None or isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and not (self.whole and value != int(value))

    def share(self, value: Any) -> float | None:
        """Where on its axis a number lies, from 0 to 1; None for choices and for what lies outside."""
        if self.choices is not None or not self.holds(value) or self.low is None or self.high is None:
            return None
        low, here, high = (math.log(v) if self.scale == "log" else float(v) for v in (self.low, value, self.high))
        return (here - low) / (high - low)


def mistakes_of_axis(base: Base, place: str, axis: Axis) -> list[Mistake]:
    """Everything that is wrong with one axis, with its path in the study."""
    path = f"space.{place}"
    if place == "training.seed":
        return [Mistake(path, "misplaced_key", "seeds: N varies the seed", "Leave it out here.")]
    if (axis.low is None) != (axis.high is None) or (axis.low is None) == (axis.choices is None):
        hint = "Write {low: …, high: …} or {choices: […]}."
        return [Mistake(path, "wrong_axis", "is either low and high, or choices", hint)]
    if axis.choices is None:
        found = [Mistake(path, code, told, hint) for code, told, hint in _mistakes_of_range(axis)]
    else:
        twice = any(value in axis.choices[:k] for k, value in enumerate(axis.choices))
        found = [Mistake(path, "twice", "a choice stands there twice")] if twice else []
    try:
        changed(base.job, {place: axis.corners[0]})
    except Invalid as error:
        found += [Mistake(path, one.code, one.message, one.hint) for one in error.mistakes]
    return found


def _mistakes_of_range(axis: Axis) -> list[tuple[str, str, str]]:
    low, high = float(axis.low or 0.0), float(axis.high or 0.0)
    found = []
    if not low < high:
        found.append(("out_of_range", f"low {number(low)} is not below high {number(high)}", "Exchange or widen them."))
    if axis.scale == "log" and low <= 0:
        found.append(("out_of_range", "a logarithmic axis has no 0", "Begin above 0, or take scale: linear."))
    if axis.step is not None and not 0 < axis.step <= high - low:
        hint = "Leave it out for any value."
        found.append(("out_of_range", "the step must be above 0 and fit between low and high", hint))
    if axis.step is not None and axis.scale == "log":
        found.append(("wrong_axis", "a logarithmic axis has no even steps", "Leave step out, or take choices."))
    return found
