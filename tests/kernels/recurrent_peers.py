"""PyTorch's recurrent layers over the weights of ours: what the tests of simple_rnn, lstm and gru compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.recurrent import Recurrent
from tests.kernels.harness import Array, Bound

ORDERS = {"simple_rnn": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}
"""Which of our gates stands where in PyTorch's weights: Keras's z, r, g are PyTorch's r, z, n."""


def columns(values: Array, kind: str) -> Array:
    """The gates in PyTorch's order, and back again: both orders undo themselves."""
    gates = np.split(values, len(ORDERS[kind]), axis=-1)
    return np.concatenate([gates[k] for k in ORDERS[kind]], axis=-1)


def pytorch_computes(bound: Bound, layer: Recurrent) -> dict[str, Array]:
    """Output and gradients of PyTorch's layer in float64, over the input, weights and dy of ours, in our layout."""
    import torch

    peer_class = {"simple_rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[layer.type]
    both = layer.bidirectional is not None
    x = torch.tensor(bound.host("x"), dtype=torch.float64)
    x = torch.flip(x, [1]) if layer.go_backwards else x
    x.requires_grad_()
    peer = peer_class(x.shape[2], layer.units, batch_first=True, bidirectional=both).double()
    prefixes = {"": "", "_reverse": "backward_"} if both else {"": ""}
    for suffix, prefix in prefixes.items():
        _load(peer, suffix, bound, prefix, layer)
    y = peer(x)[0]
    y = _merged(y, layer)
    y.backward(torch.tensor(bound.host("dy"), dtype=torch.float64))
    dx = torch.flip(x.grad, [1]) if layer.go_backwards else x.grad
    found = {"y": y.detach().numpy(), "dx": dx.numpy()}
    for suffix, prefix in prefixes.items():
        found |= _gradients(peer, suffix, prefix, layer)
    return found


def _load(peer: Any, suffix: str, bound: Bound, prefix: str, layer: Recurrent) -> None:
    import torch

    values = {"weight_ih": bound.host(f"{prefix}w").T, "weight_hh": bound.host(f"{prefix}u").T}
    values["bias_ih"] = bound.host(f"{prefix}b")
    values["bias_hh"] = bound.host(f"{prefix}c") if layer.type == "gru" else np.zeros_like(values["bias_ih"])
    with torch.no_grad():
        for name, value in values.items():
            ordered = columns(value.T, layer.type).T
            getattr(peer, f"{name}_l0{suffix}").copy_(torch.tensor(np.ascontiguousarray(ordered)))


def _merged(y: Any, layer: Recurrent) -> Any:
    """The last state or all of them; both directions as they are, summed, averaged or multiplied."""
    import torch

    if layer.bidirectional is None:
        return y if layer.return_sequences else y[:, -1]
    ahead, back = y[..., : layer.units], y[..., layer.units :]
    if not layer.return_sequences:
        ahead, back = ahead[:, -1], back[:, 0]
    merges = {"sum": ahead + back, "ave": (ahead + back) / 2, "mul": ahead * back}
    return merges.get(layer.bidirectional, torch.cat([ahead, back], -1))


def _gradients(peer: Any, suffix: str, prefix: str, layer: Recurrent) -> dict[str, Array]:
    def gradient(name: str) -> Array:
        found: Array = getattr(peer, f"{name}_l0{suffix}").grad.numpy().T
        return columns(found, layer.type)

    found = {f"d{prefix}w": gradient("weight_ih"), f"d{prefix}u": gradient("weight_hh")}
    found[f"d{prefix}b"] = gradient("bias_ih")
    if layer.type == "gru":
        found[f"d{prefix}c"] = gradient("bias_hh")
    return found


def compare(bound: Bound, layer: Recurrent) -> None:
    """Fail unless ours are PyTorch's numbers."""
    peers = pytorch_computes(bound, layer)
    ours = {"y": bound.forward(), **bound.backward()}
    assert set(ours) == set(peers)
    for name, peer in peers.items():
        assert ours[name].shape == peer.shape, name
        assert np.abs(ours[name] - peer).max() <= 2e-5 * max(1, np.abs(peer).max()), name
