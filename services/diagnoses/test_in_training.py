"""Test rows that the network learns from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage


@final
class KnownTestRows(Illness):
    """Rows of the test part stand in the train part as well, input and target alike. The test score then counts what
    the network has seen, and promises more than it will hold."""

    type: ClassVar[str] = "test_in_training"
    title: ClassVar[str] = "Test rows in the train part"
    severity: ClassVar[Severity] = "error"
    stages: ClassVar[tuple[Stage, ...]] = ("data",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    formula: ClassVar[str] = (
        "test rows with the input and target of a train row, over all test rows; at least 5 of them. Not looked for"
        " where equal inputs often have different targets: there, repetitions are the nature of the data"
    )
    unit: ClassVar[str] = "share of test rows"
    threshold: ClassVar[float] = 0.01
    source: ClassVar[str] = (
        "Barz and Denzler 2020, Do we train on test data: 3.3 % of such rows in CIFAR-10 change the order of networks;"
        " the threshold is a third of that"
    )
    explanation: ClassVar[str] = (
        "These test rows stand in the train part with the same target."
        " The score on the test part is too good, because part of it is memory."
    )
    next_step: ClassVar[str] = (
        "Take repeated rows out of the file, then bring it again; GET /v1/datasets/{name}/report counts them."
    )

    def look(self, case: Case) -> Iterator[Seen]:
        """The share of test rows that are known."""
        copied, rows = case.facts.copied, case.facts.rows["test"]
        if copied is not None and copied >= 5 and copied > self.threshold * rows:
            yield Seen(copied / rows)
