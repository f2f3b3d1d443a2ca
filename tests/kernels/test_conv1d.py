"""Conv1D: hand-computed sums, what `causal` may see, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Example, ShapeError
from kernels.ops.conv1d import Conv1D
from kernels.tensor import TensorSpec
from tests.kernels.harness import Bound, bind

LARGE = [
    Example(Conv1D(64, 5, padding="same"), TensorSpec((5, 60, 40))),
    Example(Conv1D(32, 9, strides=4, padding="same"), TensorSpec((3, 1000, 1))),
    Example(Conv1D(128, 3, padding="causal", dilation_rate=4), TensorSpec((4, 50, 64))),
    Example(Conv1D(24, 3, groups=4), TensorSpec((4, 50, 16))),
]


def slid(layer: Conv1D, steps: list[float], taps: list[float]) -> Bound:
    """One sequence of one feature and one filter, bound."""
    bound = bind(layer, TensorSpec((1, len(steps), 1)))
    bound.put("x", np.array(steps).reshape(1, -1, 1))
    bound.put("w", np.array(taps).reshape(-1, 1, 1))
    return bound


def test_each_output_is_a_weighted_sum_of_its_stretch() -> None:
    bound = slid(Conv1D(1, 2), [1, 2, 4, 8], [10, 1])
    bound.put("b", np.array([0.5]))
    assert bound.forward().ravel().tolist() == [12.5, 24.5, 48.5]
    bound.put("dy", np.array([1, 0, 2]).reshape(1, 3, 1))
    gradients = bound.backward()
    assert gradients["dx"].ravel().tolist() == [10, 1, 20, 2]
    assert gradients["dw"].ravel().tolist() == [1 * 1 + 2 * 4, 1 * 2 + 2 * 8]
    assert gradients["db"].tolist() == [3]


def test_same_padding_puts_the_surplus_zero_at_the_end_and_causal_all_at_the_beginning() -> None:
    same = slid(Conv1D(1, 2, padding="same", use_bias=False), [1, 2, 4], [10, 1])
    causal = slid(Conv1D(1, 2, padding="causal", use_bias=False), [1, 2, 4], [10, 1])
    assert same.forward().ravel().tolist() == [12, 24, 40]
    assert causal.forward().ravel().tolist() == [1, 12, 24]


def test_a_causal_output_sees_no_later_input() -> None:
    layer, spec = Conv1D(4, 3, padding="causal", dilation_rate=2), TensorSpec((2, 12, 3))
    bound = bind(layer, spec)
    before, x = bound.forward(), bound.host("x")
    x[:, 7:] = 99
    bound.put("x", x)
    after = bound.forward()
    assert (after[:, :7] == before[:, :7]).all()
    assert (after[:, 7:] != before[:, 7:]).all()


@pytest.mark.parametrize(
    ("layer", "steps"),
    [
        (Conv1D(8, 3), 26),
        (Conv1D(8, 3, strides=2, padding="same"), 14),
        (Conv1D(8, 4, strides=3, padding="causal"), 10),
        (Conv1D(8, 3, dilation_rate=2), 24),
    ],
    ids=str,
)
def test_the_output_has_keras_length(layer: Conv1D, steps: int) -> None:
    assert layer.infer(TensorSpec((4, 28, 3))).output.shape == (4, steps, 8)


def test_a_flat_input_is_refused_with_the_remedy() -> None:
    with pytest.raises(ShapeError, match=r"expects \(batch, time, features\), got \(8, 64\); add a reshape"):
        Conv1D(8, 3).infer(TensorSpec((8, 64)))


def test_a_window_longer_than_the_sequence_is_refused_with_both_lengths() -> None:
    with pytest.raises(ShapeError, match="over 9 steps, but its input has only 8; use a smaller kernel_size"):
        Conv1D(8, 5, dilation_rate=2).infer(TensorSpec((1, 8, 3)))


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ShapeError, match="cannot split 3 channels and 8 filters into 2 equal groups"):
        Conv1D(8, 3, groups=2).infer(TensorSpec((1, 8, 3)))


@pytest.mark.peers
@pytest.mark.parametrize("example", [*Conv1D.examples(), *LARGE], ids=lambda e: f"{e.operator} of {e.x.shape}")
def test_pytorch_computes_the_same(example: Example) -> None:
    torch = pytest.importorskip("torch")
    layer, bound = example.operator, bind(example.operator, example.x)
    assert isinstance(layer, Conv1D)
    x = torch.tensor(bound.host("x").transpose(0, 2, 1), dtype=torch.float64, requires_grad=True)
    w = torch.tensor(bound.host("w").transpose(2, 1, 0), dtype=torch.float64, requires_grad=True)
    b = torch.tensor(bound.host("b"), dtype=torch.float64, requires_grad=True) if layer.use_bias else None
    wide = layer._window(example.x)
    padded = torch.nn.functional.pad(x, (wide.before, wide.after))
    y = torch.nn.functional.conv1d(padded, w, b, layer.strides, 0, layer.dilation_rate, layer.groups)
    y.backward(torch.tensor(bound.host("dy").transpose(0, 2, 1), dtype=torch.float64))
    peers = {"y": y.detach().permute(0, 2, 1), "dx": x.grad.permute(0, 2, 1), "dw": w.grad.permute(2, 1, 0)}
    if b is not None:
        peers["db"] = b.grad
    ours = {"y": bound.forward(), **bound.backward()}
    assert set(ours) == set(peers)
    for name, peer in peers.items():
        assert np.abs(ours[name] - peer.numpy()).max() <= 1e-5 * np.abs(peer.numpy()).max(), name
