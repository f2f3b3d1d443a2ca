"""One contestant in a process of its own: `python -m benchmarks.contestants NAME WORKLOAD THREADS WEIGHTS`.

It answers lines on standard input: `losses` with the losses of the first steps, a number with the seconds that so many
further steps took. Separate processes, because the thread pools of two libraries in one process slow each other down.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

FIRST_STEPS = 8
EPSILON = 1e-12
"""Adam's: Keras and PyTorch add it at different places, so only a vanishing one makes the two do the same."""
Step = Callable[[int], list[float]]


def ours(number: int, threads: int, weights: str) -> Step:
    """Our plan; its initial weights are written to `weights` for the peers."""
    import numpy as np

    from benchmarks.workloads import WORKLOADS
    from kernels.backend import CpuBackend
    from kernels.registry import losses, optimizers
    from kernels.tensor import TensorSpec
    from services.job_spec import NetworkSpec
    from services.outline import outline
    from services.plan import Plan, Recipe

    work = WORKLOADS[number]
    network = NetworkSpec.model_validate({"layers": work.layers})
    settings = {"epsilon": EPSILON} if work.optimizer == "adam" else {}
    optimizer = optimizers[work.optimizer](learning_rate=work.rate, **settings)  # type: ignore[call-arg]
    targets = TensorSpec((work.batch,), "int32") if work.classifies else TensorSpec((work.batch, *work.shape))
    recipe = Recipe(losses[work.loss](), targets, optimizer)
    plan = Plan(outline(network.layers, TensorSpec((work.batch, *work.shape))), CpuBackend(threads), recipe)
    plan.initialize(0)
    np.savez(weights, **{name.replace("/", "."): value for name, value in plan.weights().items()})
    x, t = work.data()
    batches = len(x) // work.batch
    rates = plan.backend.array(np.full(10_000_000, work.rate, np.float32))
    lost, outputs = plan.backend.zeros((batches, work.batch)), plan.backend.zeros((batches, *plan.outline.output.shape))
    program = plan.training(plan.feed(x, t), rates, lost, outputs)
    done = 0

    def run(steps: int) -> list[float]:
        nonlocal done
        said: list[float] = []
        while steps:
            batch = done % batches
            some = min(steps, batches - batch)
            plan.set_clock(done, batch)
            program.run(some)
            said += lost[:some].mean(axis=1).tolist()
            done, steps = done + some, steps - some
        return said

    return run


def peer(way: str) -> Callable[[int, int, str], Step]:
    """PyTorch run in one of the ways of `benchmarks.torch_networks`."""

    def begin(number: int, threads: int, weights: str) -> Step:
        import torch

        from benchmarks.torch_networks import training
        from benchmarks.workloads import WORKLOADS

        torch.set_num_threads(threads)
        return training(WORKLOADS[number], weights, way, EPSILON)

    return begin


CONTESTANTS: dict[str, Callable[[int, int, str], Step]] = {
    "trainyard": ours, "torch eager": peer("eager"), "torch fused": peer("fused"), "torch compile": peer("compile"),
}  # fmt: skip


def main() -> None:
    """Answer the harness until it hangs up."""
    name, number, threads, weights = sys.argv[1:5]
    step = CONTESTANTS[name](int(number), int(threads), weights)
    for line in sys.stdin:
        begin = time.perf_counter()
        said = step(FIRST_STEPS if line.strip() == "losses" else int(line))
        seconds = time.perf_counter() - begin
        print(json.dumps(said if line.strip() == "losses" else seconds), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
