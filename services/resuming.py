"""How training goes on from a checkpoint whose job has other stopping rules by now: after a retry with changes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.events import Standing
from services.job_spec import EarlyStoppingSpec

GOAL = ("monitor", "mode", "restore_best_weights")


def stopping_of(stopping: EarlyStoppingSpec | None) -> dict[str, Any] | None:
    """The rules as a checkpoint keeps them."""
    return None if stopping is None else stopping.model_dump(mode="json")


def taken_up(standing: Standing, before: Mapping[str, Any] | None, stopping: EarlyStoppingSpec | None) -> Standing:
    """The standing under the rules of now; the very same where the rules are.

    Another goal forgets the best so far, because it was the best in something else. Another patience is asked anew
    whether it is used up.
    """
    now, cursor = stopping_of(stopping), standing.cursor
    if now == before:
        return standing
    if now is None or before is None or any(now[key] != before[key] for key in GOAL):
        return Standing(replace(cursor, best_value=None, best_epoch=None, waited=0, stopped_early=False))
    assert stopping is not None
    return replace(standing, cursor=replace(cursor, stopped_early=cursor.waited >= max(1, stopping.patience)))
