"""Better and better on the train part alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Stage


@final
class Overfitting(Illness):
    """The training loss goes on falling while the loss on validation rises: the network learns the train rows by
    heart."""

    type: ClassVar[str] = "overfitting"
    title: ClassVar[str] = "Overfitting"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "forecasting", "language_model")
    formula: ClassVar[str] = (
        "validation loss now over the smallest so far, less 1; told where it has risen by more than 5 % of the loss"
        " of a constant guess too, the training loss has fallen by a quarter since, and no early_stopping restores the"
        " best weights"
    )
    unit: ClassVar[str] = "rise above the best validation loss"
    threshold: ClassVar[float] = 0.1
    source: ClassVar[str] = (
        "Prechelt 1998, Early stopping, but when: generalization loss, here 10 %; 2 / √n where validation"
        " has few rows n, which is two standard errors of a squared error"
    )
    explanation: ClassVar[str] = (
        "The validation loss was smaller before, and the training loss has fallen since."
        " From there on the network has learned what holds for the train rows alone."
    )
    next_step: ClassVar[str] = (
        "Stop at the best validation loss (early_stopping with restore_best_weights), add dropout, or bring more rows."
    )

    def look(self, case: Case) -> Iterator[Seen]:
        """A validation loss well above its best, where nobody restores the best weights."""
        stopping = case.spec["training"]["early_stopping"]
        now, best, chance = case.now, case.best, case.facts.chance
        if not (now and best and chance) or (stopping and stopping["restore_best_weights"]) or not case.late:
            return
        if "val_loss" not in now.values or now.loss > 0.75 * best.loss:
            return
        rise = now.values["val_loss"] - best.values["val_loss"]
        share = rise / best.values["val_loss"] if best.values["val_loss"] else 0.0
        noise = 2 / max(1, case.facts.rows["validation"]) ** 0.5
        if share > max(self.threshold, noise) and rise > 0.05 * chance:
            wanted = {"monitor": "val_loss", "patience": max(3, case.epochs // 10), "restore_best_weights": True}
            yield Seen(share, patch={"training": {"early_stopping": wanted}})
