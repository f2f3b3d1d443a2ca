"""How much memory a job takes on a worker, foreseen from its plan. The formula and its proof are in docs/admission.md.

The trainer is one process: what it begins with, the data set on its way into arrays and the arrays themselves, the
network while it learns, and the copies that a checkpoint makes of weights and optimizer state while it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

MEBIBYTE: Final = 2**20
PROCESS: Final = 448 * MEBIBYTE
"""Interpreter, libraries and compiled kernels of a trainer (262 MiB, measured), and room for what a job does beside
training: compiling, reading files, fitting baselines (up to 203 MiB, measured)."""

CONTEXT: Final = 600 * MEBIBYTE
"""What CUDA, its libraries and the kernels' code take of a GPU's memory before there is any array. Not measured."""

DATA_COPIES: Final = 2.5
"""A data set in a trainer's memory: what its source gave, the parts, and the rows that the network reads."""

FILE_COPIES: Final = 3
"""A checkpoint on its way to the disk: arrays, their bytes, the file."""

HISTORY: Final = 16 * MEBIBYTE
HISTORIES: Final = 4
"""Losses and outputs of a window of steps, for training and three parts to judge; see `services.train`."""

MARGIN: Final = 0.1
"""Of everything that the plan knows; allocators leave holes."""


@final
@dataclass(frozen=True)
class Load:
    """What a plan says: bytes of `weights`, `gradients`, `optimizer`, `activations` and `data`; bytes of what comes out
    of the network for a batch (`outputs`) and for all rows (`all_outputs`); how many `steps` have a learning rate;
    whether the best weights are kept beside the last."""

    bytes: Mapping[str, int]
    outputs: int
    all_outputs: int
    steps: int
    keeps_best: bool = False

    @property
    def history(self) -> int:
        """Bytes of losses and outputs that wait to be read."""
        return HISTORIES * min(max(HISTORY, self.outputs), max(self.all_outputs, self.outputs))


def footprint(load: Load) -> dict[str, Any]:
    """Bytes by purpose and in `total`: of a trainer on a CPU worker, of the GPU on a GPU worker."""
    network = {name: load.bytes[name] for name in ("weights", "gradients", "optimizer", "activations")}
    kept = load.bytes["weights"] * (2 if load.keeps_best else 1) + load.bytes["optimizer"]
    best = load.bytes["weights"] if load.keeps_best else 0
    beside = {"outputs": load.history, "schedule": 12 * load.steps}
    files = {"files": FILE_COPIES * kept + best}
    return {
        "cpu": _sum(PROCESS, {"data": int(DATA_COPIES * load.bytes["data"]), **network, **files, **beside}),
        "gpu": _sum(CONTEXT, {"data": load.bytes["data"], **network, **beside}),
    }


def _sum(process: int, parts: dict[str, int]) -> dict[str, int]:
    margin = int(MARGIN * sum(parts.values()))
    return {"process": process, **parts, "margin": margin, "total": process + sum(parts.values()) + margin}
