"""An input that is the target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage


@final
class TargetAmongInputs(Illness):
    """One input column is the target in another guise, such as a price in another currency. The network copies it, and
    is useless where that column is not known."""

    type: ClassVar[str] = "target_among_inputs"
    title: ClassVar[str] = "The target stands among the inputs"
    severity: ClassVar[Severity] = "error"
    stages: ClassVar[tuple[Stage, ...]] = ("data",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    formula: ClassVar[str] = (
        "squared correlation of an input column of a table with the target, over at most 2,048 rows"
    )
    unit: ClassVar[str] = "squared correlation"
    threshold: ClassVar[float] = 0.999
    source: ClassVar[str] = (
        "Kaufman et al. 2012, Leakage in data mining: a score too good to be true is the first sign; the strongest"
        " column of iris, breast_cancer, diabetes and california_housing reaches 0.92"
    )
    explanation: ClassVar[str] = (
        "One column alone gives the target by a straight line."
        " It is probably computed from the target, or known only after it."
    )
    next_step: ClassVar[str] = "Leave that column out of the inputs and train again."

    def look(self, case: Case) -> Iterator[Seen]:
        """A column that tells all."""
        if case.facts.told is not None and case.facts.told[1] > self.threshold:
            yield Seen(case.facts.told[1], "dataset", case.facts.told[0])
