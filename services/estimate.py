"""How long a job will train: from the most alike of your own finished jobs, never from a made-up speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from services.jobs import Job


@final
@dataclass(frozen=True)
class Estimate:
    """Seconds of training, and the finished job they are worked out from."""

    seconds: float
    based_on: str


def estimate(finished: Iterable[Job], outline: Mapping[str, Any]) -> Estimate | None:
    """t = steps · t' · f/f', with t' and f' seconds and operations per step of the finished job with the nearest f'.

    None before the first job has finished.
    """
    wanted = outline["flops_per_step"]
    alike = [job for job in finished if ("environment" in job.outline) == ("environment" in outline)]
    paces = [pace for job in alike if (pace := _pace(job)) is not None]
    if not paces or wanted <= 0:
        return None
    flops, seconds, id = min(paces, key=lambda pace: abs(math.log(pace[0] / wanted)))
    return Estimate(round(outline["total_steps"] * seconds * wanted / flops, 3), id)


def _pace(job: Job) -> tuple[float, float, str] | None:
    """Operations and seconds per step of a job that one attempt trained from beginning to end."""
    flops, seconds = job.outline.get("flops_per_step", 0), (job.result or {}).get("train_seconds", 0)
    if job.attempt != 1 or job.step <= 0 or flops <= 0 or seconds <= 0:
        return None
    return flops, seconds / job.step, job.id
