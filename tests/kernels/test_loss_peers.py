"""Every loss and its gradient beside PyTorch's, on classes, values, sequences and images; ONNX's cross-entropy too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kernels.operator import LossExample
from kernels.registry import losses
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind_loss, every_loss_example

Peer = Callable[[Any, Any, Any, Any], Any]
"""(torch, loss, x, t) to the mean loss; x are scores, or probabilities as the loss wants them."""


def by_position(x: Any) -> Any:
    """Classes in rows: (n, …, c) to (n·…, c)."""
    return x.reshape(-1, x.shape[-1])


def smoothed(t: Any, loss: Any, towards: float) -> Any:
    """Targets drawn towards a constant."""
    return t * (1 - loss.label_smoothing) + loss.label_smoothing * towards


def focal(torch: Any, loss: Any, x: Any, t: Any) -> Any:
    """Lin et al., equation 5, for answers of 0 or 1."""
    truth = smoothed(t.reshape(x.shape), loss, 0.5)
    wrong = truth * (1 - x) + (1 - truth) * x
    weight = truth * loss.alpha + (1 - truth) * (1 - loss.alpha) if loss.apply_class_balancing else 1
    surprise = torch.nn.functional.binary_cross_entropy(x, truth, reduction="none")
    return (weight * wrong**loss.gamma * surprise).mean()


def categorical_focal(torch: Any, loss: Any, x: Any, t: Any) -> Any:
    """Lin et al., equation 5, summed over classes."""
    truth = smoothed(t, loss, 1 / t.shape[-1])
    return -(loss.alpha * truth * (1 - x) ** loss.gamma * x.log()).sum(-1).mean()


def margin(torch: Any, x: Any, t: Any) -> Any:
    """1 − s·z where it is above 0."""
    return torch.relu(1 - (2 * t.reshape(x.shape) - 1) * x)


def policy(torch: Any, x: Any) -> Any:
    """The policy that scores make."""
    return torch.distributions.Categorical(logits=x)


def clipped(torch: Any, x: Any, t: Any) -> Any:
    """Schulman et al. 2017, equation 7."""
    ratio = (policy(torch, x).log_prob(t[:, 0]) - t[:, 2]).exp()
    near = torch.minimum(torch.maximum(ratio, 1 - t[:, 3]), 1 + t[:, 3])
    return -torch.minimum(ratio * t[:, 1], near * t[:, 1]).mean()


PEERS: dict[str, Peer] = {
    "mean_squared_error": lambda torch, loss, x, t: torch.nn.functional.mse_loss(x, t),
    "mean_absolute_error": lambda torch, loss, x, t: torch.nn.functional.l1_loss(x, t),
    "huber": lambda torch, loss, x, t: torch.nn.functional.huber_loss(x, t, delta=loss.delta),
    "log_cosh": lambda torch, loss, x, t: torch.log(torch.cosh(x - t)).mean(),
    "hinge": lambda torch, loss, x, t: margin(torch, x, t).mean(),
    "squared_hinge": lambda torch, loss, x, t: margin(torch, x, t).square().mean(),
    "perceptron": lambda torch, loss, x, t: torch.relu((1 - 2 * t.reshape(x.shape)) * x).sum() / len(x),
    "binary_crossentropy": lambda torch, loss, x, t: torch.nn.functional.binary_cross_entropy(
        x, smoothed(t.reshape(x.shape), loss, 0.5)
    ),
    "binary_crossentropy+sigmoid": lambda torch, loss, x, t: torch.nn.functional.binary_cross_entropy_with_logits(
        x, smoothed(t.reshape(x.shape), loss, 0.5)
    ),
    "binary_focal_crossentropy": focal,
    "binary_focal_crossentropy+sigmoid": lambda torch, loss, x, t: focal(torch, loss, torch.sigmoid(x), t),
    "categorical_crossentropy": lambda torch, loss, x, t: (
        -(smoothed(t, loss, 1 / t.shape[-1]) * x.log()).sum(-1).mean()
    ),
    "categorical_crossentropy+softmax": lambda torch, loss, x, t: torch.nn.functional.cross_entropy(
        by_position(x), by_position(t), label_smoothing=loss.label_smoothing
    ),
    "categorical_focal_crossentropy": categorical_focal,
    "categorical_focal_crossentropy+softmax": lambda torch, loss, x, t: categorical_focal(
        torch, loss, torch.softmax(x, -1), t
    ),
    "sparse_categorical_crossentropy": lambda torch, loss, x, t: torch.nn.functional.nll_loss(
        by_position(x).log(), t.ravel().long()
    ),
    "sparse_categorical_crossentropy+softmax": lambda torch, loss, x, t: torch.nn.functional.cross_entropy(
        by_position(x), t.ravel().long()
    ),
    "kl_divergence": lambda torch, loss, x, t: torch.nn.functional.kl_div(
        by_position(x).log(), by_position(t).clip(1e-7, 1), reduction="batchmean"
    ),
    "kl_divergence+softmax": lambda torch, loss, x, t: torch.nn.functional.kl_div(
        torch.log_softmax(by_position(x), -1), by_position(t).clip(1e-7, 1), reduction="batchmean"
    ),
}
PEERS |= {
    "temporal_difference": lambda torch, loss, x, t: torch.nn.functional.huber_loss(
        x.gather(1, t[:, :1].long())[:, 0], t[:, 1], delta=loss.delta
    ),
    "policy_gradient": lambda torch, loss, x, t: (
        -(t[:, 1] * policy(torch, x).log_prob(t[:, 0])).mean() - loss.entropy * policy(torch, x).entropy().mean()
    ),
    "clipped_surrogate": lambda torch, loss, x, t: (
        clipped(torch, x, t) - loss.entropy * policy(torch, x).entropy().mean()
    ),
}
EXAMPLES = dict(every_loss_example())


@pytest.mark.peers
@pytest.mark.parametrize("name", EXAMPLES)
def test_pytorch_computes_the_same_loss_and_the_same_gradient(name: str) -> None:
    torch = pytest.importorskip("torch")
    made = bind_loss(EXAMPLES[name], dtype="float64")
    x = torch.tensor(made.host("x"), requires_grad=True)
    t = made.host("t")
    theirs = PEERS[name.partition("[")[0]](torch, EXAMPLES[name].loss, x, torch.tensor(t.astype(np.float64)))
    theirs.backward()
    assert made.forward().mean() == pytest.approx(theirs.item(), rel=1e-6)
    assert np.allclose(made.backward()["dx"], x.grad.numpy(), rtol=1e-5, atol=1e-8)


def test_every_loss_of_the_registry_has_a_peer() -> None:
    behind = {f"{kind}+{a}" for kind, loss in losses.members.items() for a, f in loss.fused.items() if f is not loss}
    assert set(PEERS) == set(losses.members) | behind


@pytest.mark.parametrize("shape", [(6, 10), (3, 7, 5)], ids=str)
def test_onnx_runtime_computes_the_same_cross_entropy_of_a_sequence(shape: tuple[int, ...]) -> None:
    loss = losses["sparse_categorical_crossentropy"].fused["softmax"]()
    made = bind_loss(LossExample(loss, TensorSpec(shape), TensorSpec(shape[:-1], "int32")))
    names = {"scores": TensorProto.FLOAT, "labels": TensorProto.INT64}
    fed = {"scores": np.moveaxis(made.host("x"), -1, 1), "labels": made.host("t").astype(np.int64)}
    graph = helper.make_graph(
        [helper.make_node("SoftmaxCrossEntropyLoss", [*names], ["loss"], reduction="mean")],
        "one",
        [helper.make_tensor_value_info(name, kind, fed[name].shape) for name, kind in names.items()],
        [helper.make_tensor_value_info("loss", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {name: np.ascontiguousarray(array) for name, array in fed.items()})[0]
    assert made.forward().mean() == pytest.approx(float(np.asarray(theirs)), rel=1e-5)
