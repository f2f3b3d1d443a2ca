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
from typing import Any

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
    recipe = Recipe(losses["sparse_categorical_crossentropy"](), TensorSpec((work.batch,), "int32"), optimizer)
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


def torch_eager(number: int, threads: int, weights: str, fused: bool = False) -> Step:
    """PyTorch with nn modules and its stock optimizer, from our initial weights; losses stay tensors until asked."""
    import numpy as np
    import torch
    from torch import nn

    from benchmarks.workloads import WORKLOADS

    torch.set_num_threads(threads)
    work = WORKLOADS[number]
    held = np.load(weights, allow_pickle=False)
    modules: list[nn.Module] = []
    names = iter(sorted({name.rpartition(".")[0] for name in held}, key=_order))
    channels, height, width = (work.shape[2], *work.shape[:2]) if len(work.shape) > 1 else (work.shape[0], 1, 1)
    flat_from: tuple[int, int, int] | None = None
    for layer in work.layers:
        if layer["type"] == "conv2d":
            w = torch.from_numpy(held[f"{(name := next(names))}.w"]).permute(3, 2, 0, 1).contiguous()
            module: nn.Module = nn.Conv2d(channels, layer["filters"], layer["kernel_size"], padding="same")
            _set(module, w, held[f"{name}.b"])
            modules += [module, nn.ReLU()]
            channels = layer["filters"]
        elif layer["type"] == "max_pooling2d":
            modules.append(nn.MaxPool2d(layer["pool_size"]))
            height, width = height // 2, width // 2
        elif layer["type"] == "flatten":
            modules.append(nn.Flatten())
            flat_from = (height, width, channels)
        else:
            w = torch.from_numpy(held[f"{(name := next(names))}.w"])
            if flat_from is not None:
                w = w.reshape(*flat_from, -1).permute(2, 0, 1, 3).reshape(w.shape)
                flat_from = None
            module = nn.Linear(*w.shape)
            _set(module, w.T.contiguous(), held[f"{name}.b"])
            modules += [module] + ([nn.ReLU()] if layer["activation"] == "relu" else [])
    net, cost = nn.Sequential(*modules), nn.CrossEntropyLoss()
    eps = {"eps": EPSILON} if work.optimizer == "adam" else {}
    made = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[work.optimizer]
    optimizer: Any = made(net.parameters(), lr=work.rate, fused=fused or None, **eps)  # type: ignore[arg-type]
    host_x, host_t = work.data()
    x, t = torch.from_numpy(host_x), torch.from_numpy(host_t).long()
    x = x.permute(0, 3, 1, 2).contiguous() if x.ndim > 2 else x
    batches, done = len(x) // work.batch, 0

    def run(steps: int) -> list[float]:
        nonlocal done
        said = []
        for _ in range(steps):
            first = done % batches * work.batch
            optimizer.zero_grad()
            loss = cost(net(x[first : first + work.batch]), t[first : first + work.batch])
            loss.backward()
            optimizer.step()
            said.append(loss.detach())
            done += 1
        return [float(v) for v in said]

    return run


def _order(name: str) -> tuple[bool, int]:
    kind, _, count = name.partition("_")
    return kind == "dense", int(count or 0)


def _set(module: Any, weight: Any, bias: Any) -> None:
    import torch

    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(torch.from_numpy(bias))


def torch_fused(number: int, threads: int, weights: str) -> Step:
    """The same with PyTorch's fused optimizer."""
    return torch_eager(number, threads, weights, fused=True)


CONTESTANTS: dict[str, Callable[[int, int, str], Step]] = {
    "trainyard": ours, "torch eager": torch_eager, "torch fused": torch_fused,
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
