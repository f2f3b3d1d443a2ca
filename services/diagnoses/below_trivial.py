"""Worse than a guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage, accuracy_of, squared_error_of, standard_error


@final
class BelowTrivial(Illness):
    """On rows that it has not learned from, the network does worse than the commonest class or the mean of the
    targets."""

    type: ClassVar[str] = "below_trivial"
    title: ClassVar[str] = "Worse than a constant guess"
    severity: ClassVar[Severity] = "error"
    stages: ClassVar[tuple[Stage, ...]] = ("end",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    formula: ClassVar[str] = (
        "test accuracy over that of the commonest class; for values, mean squared error of the mean over that of the"
        " network"
    )
    unit: ClassVar[str] = "of the score of a constant guess"
    threshold: ClassVar[float] = 1.0
    source: ClassVar[str] = (
        "the constant guess itself, on the same rows; two standard errors (5 % for values) are let pass"
    )
    explanation: ClassVar[str] = (
        "A guess that ignores the input scores better on the test part than this network."
        " What it has learned does not hold for other rows, or it has learned the wrong thing."
    )
    next_step: ClassVar[str] = "Stop at the best validation loss, and read the data set's report before the next try."

    def look(self, case: Case) -> Iterator[Seen]:
        """The test score beside the trivial one of the baseline."""
        baseline, test = case.result.get("baseline"), case.result.get("test")
        if not baseline or not test:
            return
        share = self._share(case, baseline["trivial"]["scores"], test)
        if share is not None:
            stopping = {"monitor": "val_loss", "patience": 5, "restore_best_weights": True}
            yield Seen(share, patch={"training": {"early_stopping": stopping}})

    def _share(self, case: Case, trivial: Mapping[str, float], test: Mapping[str, Any]) -> float | None:
        if case.task == "classification":
            ours, guess = accuracy_of(test), trivial["accuracy"]
            slack = 2 * standard_error(guess, case.facts.rows["test"])
            return ours / guess if ours is not None and ours < guess - slack else None
        error = squared_error_of(test, case.spec["training"]["loss"]["type"])
        guess = trivial["mean_squared_error"]
        return guess / error if error and error > 1.05 * guess else None
