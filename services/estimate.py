"""How long a job will train: from the most alike of your own finished jobs, never from a made-up speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

ALIKE: Final = 30.0
"""How many times more or less work a step may be for its pace to say anything: small steps are all overhead."""


@final
@dataclass(frozen=True)
class Estimate:
    """Seconds of training, and the finished job they are worked out from."""

    seconds: float
    based_on: str


@final
@dataclass(frozen=True)
class Pace:
    """How a finished job did: operations and seconds per step."""

    job: str
    flops: float
    seconds: float


def estimate(paces: Iterable[Pace], outline: Mapping[str, Any]) -> Estimate | None:
    """t = steps · t' · f/f', with t' and f' seconds and operations per step of the finished job with the nearest f'.

    None before a job with steps of a similar size has finished.
    """
    wanted, steps = outline.get("flops_per_step", 0), outline.get("total_steps", 0)
    known = [pace for pace in paces if pace.flops > 0]
    if not known or wanted <= 0:
        return None
    near = min(known, key=lambda pace: abs(math.log(pace.flops / wanted)))
    if abs(math.log(near.flops / wanted)) > math.log(ALIKE):
        return None
    return Estimate(round(steps * near.seconds * wanted / near.flops, 3), near.job)


def step_seconds(attempt: int, step: int, result: Mapping[str, Any] | None) -> float | None:
    """The pace of a job that one attempt trained from beginning to end; None where it tells none."""
    seconds = (result or {}).get("train_seconds", 0)
    if attempt != 1 or step <= 0 or not isinstance(seconds, int | float) or seconds <= 0:
        return None
    return float(seconds) / step
