"""A network that cannot hold what is to be learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Stage, accuracy_of, squared_error_of, standard_error
from services.remedies import wider


@final
class NetworkTooSmall(Illness):
    """Even on the rows it learns from the network does worse than a classical model does on rows it never saw, and more
    training would hardly help: there are too few weights."""

    type: ClassVar[str] = "network_too_small"
    title: ClassVar[str] = "Network too small"
    stages: ClassVar[tuple[Stage, ...]] = ("end",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    formula: ClassVar[str] = (
        "test score of the best classical model less the better of our training and validation scores; told where the"
        " loss fell by less than 30 % through the second half of the run and the network has fewer weights than rows ×"
        " outputs. Accuracy for classes; for values 1 − mean squared error / that of the mean"
    )
    unit: ClassVar[str] = "of the score behind the classical model"
    threshold: ClassVar[float] = 0.05
    source: ClassVar[str] = (
        "the baseline of this very split, less two standard errors; a network with fewer weights than rows cannot know"
        " them by heart (Zhang et al. 2017)"
    )
    explanation: ClassVar[str] = (
        "The network answers the rows it has learned from worse than a classical model answers new ones."
        " Its loss hardly falls any more, so it lacks the weights to hold what there is to learn."
    )
    next_step: ClassVar[str] = "Give the hidden layers several times as many units, or add a layer."

    def look(self, case: Case) -> Iterator[Seen]:
        """A network that has come to rest behind the classical model."""
        behind = behind_classical(case)
        few = case.parameters < case.facts.rows["train"] * case.outputs
        if behind is not None and behind > self.threshold and few and fall_in_second_half(case) < 0.3:
            yield Seen(behind, patch=wider(case.spec, 8))


def behind_classical(case: Case) -> float | None:
    """How far training and validation stay behind the classical model's test score, beyond two standard errors."""
    baseline = case.result.get("baseline") or {}
    if not baseline.get("best") or case.now is None:
        return None
    best, trivial = baseline["best"]["scores"], baseline["trivial"]["scores"]
    if case.task == "classification":
        ours = [score for p in ("", "val_") if (score := accuracy_of(case.now.values, p)) is not None]
        slack = 2 * standard_error(best["accuracy"], case.facts.rows["test"])
        return best["accuracy"] - slack - max(ours) if ours else None
    kind, mean = case.spec["training"]["loss"]["type"], trivial["mean_squared_error"]
    found = [squared_error_of(_part(case, prefix), kind) for prefix in ("", "val_")]
    errors = [error for error in found if error is not None]
    return (min(errors) - best["mean_squared_error"]) / mean if errors and mean else None


def fall_in_second_half(case: Case) -> float:
    """By how much the training loss fell, relative, since about half as many epochs; 1 where that is unknown."""
    before, now = case.earlier(), case.now
    return 1 - now.loss / before.loss if before is not None and now is not None and before.loss else 1.0


def _part(case: Case, prefix: str) -> dict[str, float]:
    assert case.now is not None
    kept = {name: value for name, value in case.now.values.items() if name.startswith("val_") == bool(prefix)}
    return {name.removeprefix(prefix): value for name, value in kept.items()}
