"""Whether a job fits: refused at once where it fits no worker even when idle, with the numbers and a way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from services.agents.review import AgentPreflight
from services.agents.spec import AnyJobSpec
from services.amounts import amount
from services.errors import Invalid, Mistake
from services.fleet import Worker
from services.job_spec import JobSpec
from services.library import BUILT_IN, Library
from services.preflight import Preflight, check

AnyPreflight = Preflight | AgentPreflight
CODE: Final = "out_of_memory"
PARTS: Final = 3
"""The largest parts of the memory that a refusal names."""


@final
@dataclass(frozen=True)
class Advice:
    """What would fit: a patch of the spec, and a sentence about it. No patch where no batch size helps."""

    batch_size: int | None
    hint: str

    @property
    def patch(self) -> dict[str, Any] | None:
        """What to lay over the spec (a JSON merge patch)."""
        return None if self.batch_size is None else {"training": {"batch_size": self.batch_size}}


def fitting(workers: Iterable[Worker], device: str, memory: Mapping[str, Any]) -> list[Worker]:
    """The workers of the right kind that a job fits when they are idle; one whose memory is unknown fits."""
    return [worker for worker in _of_kind(workers, device) if _fits(worker, memory)]


def refuse_what_fits_nowhere(
    spec: AnyJobSpec, plan: AnyPreflight, workers: Sequence[Worker], library: Library = BUILT_IN
) -> None:
    """Invalid when workers of the right kind are known and the job fits none of them even when idle."""
    device, memory = spec.resources.device, plan.memory
    candidates = _of_kind(workers, device)
    if not candidates or any(_fits(worker, memory) for worker in candidates):
        return
    nearest = max(candidates, key=lambda worker: (worker.device.memory_total or 0) - _need(worker.device.kind, memory))
    kind, there = nearest.device.kind, nearest.device.memory_total or 0
    hint = advice(spec, kind, there, library)
    path = "training.batch_size" if hint.batch_size is not None else "network"
    message = (
        f"the job needs {amount(_need(kind, memory))} of memory ({largest_parts(memory[kind])}), "
        f"and the largest {kind.upper()} worker has {amount(there)}"
    )
    raise Invalid([Mistake(path, CODE, message, hint.hint)])


def advice(spec: AnyJobSpec, kind: str, there: int, library: Library = BUILT_IN) -> Advice:
    """The largest batch that fits into `there` bytes on a worker of `kind`, found by halving: more rows take more."""
    if not isinstance(spec, JobSpec):
        return Advice(None, "Take fewer units, smaller batches or a smaller buffer.")
    batch = check(spec, library).batch
    if (fewest := _total(spec, 1, kind, library)) > there:
        most = f"Even batch_size 1 needs {amount(fewest)}"
        return Advice(None, f"{most}: take fewer units or filters, pool earlier, or a smaller train_fraction.")
    fits, too_many = 1, batch
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if _total(spec, middle, kind, library) <= there else (fits, middle)
    return Advice(fits, f"The largest batch_size that fits is {fits:,}: set training.batch_size to {fits}.")


def largest_parts(parts: Mapping[str, int]) -> str:
    """`activations 38.1 GiB, data 1.2 GiB, process 448 MiB`: what takes the most."""
    ordered = sorted(((size, name) for name, size in parts.items() if name != "total"), reverse=True)
    return ", ".join(f"{name} {amount(size)}" for size, name in ordered[:PARTS])


def _total(spec: JobSpec, batch: int, kind: str, library: Library) -> int:
    smaller = spec.model_copy(update={"training": spec.training.model_copy(update={"batch_size": batch})})
    return int(check(smaller, library).memory[kind]["total"])


def _of_kind(workers: Iterable[Worker], device: str) -> list[Worker]:
    return [worker for worker in workers if device in {"auto", worker.device.kind}]


def _fits(worker: Worker, memory: Mapping[str, Any]) -> bool:
    there = worker.device.memory_total
    return there is None or _need(worker.device.kind, memory) <= there


def _need(kind: str, memory: Mapping[str, Any]) -> int:
    return int(memory[kind]["total"])
