"""The measured networks in PyTorch, from our initial weights: channels first, the logits into the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.workloads import Workload

Shape = tuple[int, ...]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
"""A softmax is missing on purpose: CrossEntropyLoss has it inside."""


class Last(nn.Module):
    """An LSTM's last state. The second bias of PyTorch's LSTM is held at 0, so that both learn the same weights."""

    def __init__(self, features: int, weights: dict[str, Any]) -> None:
        """From weights w (features, 4·units), u (units, 4·units) and b, gates in the order i, f, g, o on both sides."""
        super().__init__()
        units = weights["u"].shape[0]
        self.lstm = nn.LSTM(features, units, batch_first=True)
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(torch.from_numpy(weights["w"]).T)
            self.lstm.weight_hh_l0.copy_(torch.from_numpy(weights["u"]).T)
            self.lstm.bias_ih_l0.copy_(torch.from_numpy(weights["b"]))
            self.lstm.bias_hh_l0.zero_()
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, t, features) to (n, units)."""
        return self.lstm(x)[0][:, -1]


def network(work: Workload, held: dict[str, Any]) -> nn.Sequential:
    """The workload's layers; `held` are our weights by `layer.name`, in the order of the layers."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in held.items():
        layer, _, weight = name.rpartition(".")
        groups.setdefault(layer, {})[weight] = value
    weights, shape, modules = iter(groups.values()), work.shape, list[nn.Module]()
    flat_from: Shape | None = None
    for layer in work.layers:
        if layer["type"] == "max_pooling2d":
            modules.append(nn.MaxPool2d(layer["pool_size"]))
            shape = (shape[0] // 2, shape[1] // 2, shape[2])
        elif layer["type"] == "flatten":
            modules.append(nn.Flatten())
            flat_from, shape = shape, (int(np.prod(shape)),)
        elif layer["type"] == "lstm":
            modules.append(Last(shape[1], found := next(weights)))
            shape = (found["u"].shape[0],)
        elif layer["type"] == "conv2d":
            modules += _conv(layer, next(weights))
            shape = (*shape[:2], layer["filters"])
        else:
            modules += _dense(layer, next(weights), flat_from)
            flat_from, shape = None, (layer["units"],)
    return nn.Sequential(*modules)


def _conv(layer: dict[str, Any], weights: dict[str, Any]) -> list[nn.Module]:
    w = torch.from_numpy(weights["w"]).permute(3, 2, 0, 1)
    module = nn.Conv2d(w.shape[1], w.shape[0], layer["kernel_size"], padding="same")
    return [_filled(module, w, weights["b"]), ACTIVATIONS[layer["activation"]]()]


def _dense(layer: dict[str, Any], weights: dict[str, Any], flat_from: Shape | None) -> list[nn.Module]:
    """Behind a flatten the rows change places: our channels come last, PyTorch's first."""
    w = torch.from_numpy(weights["w"])
    if flat_from is not None:
        w = w.reshape(*flat_from, -1).permute(2, 0, 1, 3).reshape(w.shape)
    module = _filled(nn.Linear(*w.shape), w.T, weights["b"])
    return [module, *(ACTIVATIONS[name]() for name in [layer["activation"]] if name in ACTIVATIONS)]


def _filled(module: Any, weight: torch.Tensor, bias: Any) -> nn.Module:
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(torch.from_numpy(bias))
    return module  # type: ignore[no-any-return]


def training(work: Workload, weights: str, way: str, epsilon: float) -> Callable[[int], list[float]]:
    """Steps of training; losses stay tensors until they are over.

    `way` is `eager`, `fused` (PyTorch's fused optimizer) or `compile` (that, and network and loss compiled).
    """
    with np.load(weights, allow_pickle=False) as held:
        net = network(work, {name: held[name] for name in held.files})
    cost = nn.CrossEntropyLoss() if work.classifies else nn.MSELoss()
    eps = {"eps": epsilon} if work.optimizer == "adam" else {}
    made: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[work.optimizer]
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = made(learning, lr=work.rate, fused=None if way == "eager" else True, **eps)
    x, t = _data(work)
    batches, done = len(x) // work.batch, 0

    def loss_of(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cost(net(inputs), targets)  # type: ignore[no-any-return]

    measured: Any = torch.compile(loss_of) if way == "compile" else loss_of

    def run(steps: int) -> list[float]:
        nonlocal done
        said = []
        for _ in range(steps):
            first = done % batches * work.batch
            optimizer.zero_grad()
            loss = measured(x[first : first + work.batch], t[first : first + work.batch])
            loss.backward()
            optimizer.step()
            said.append(loss.detach())
            done += 1
        return [float(value) for value in said]

    return run


def _data(work: Workload) -> tuple[torch.Tensor, torch.Tensor]:
    host_x, host_t = work.data()
    x = torch.from_numpy(host_x)
    x = x.permute(0, 3, 1, 2).contiguous() if x.ndim > 3 else x
    return x, torch.from_numpy(host_t).long() if work.classifies else torch.from_numpy(host_t)
