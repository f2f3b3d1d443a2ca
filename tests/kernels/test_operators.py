"""What every layer in the registry promises. No layer is named here: a new one is tested by being there."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from kernels import backend
from kernels.backend import CpuBackend
from kernels.operator import Example, Frame, Operator
from kernels.registry import layers
from tests.kernels.harness import bind, bind_example, every_example, numeric_gradient

EXAMPLES = dict(every_example())
each_example = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
each_layer = pytest.mark.parametrize("layer", layers.members.values(), ids=layers.members.keys())


@each_layer
def test_a_layer_explains_itself_with_a_formula(layer: type[Operator]) -> None:
    assert layer.__doc__ is not None
    assert any(sign in layer.__doc__ for sign in "=←"), "the docstring states no formula"


@each_layer
def test_a_layer_is_a_frozen_dataclass_with_examples(layer: type[Operator]) -> None:
    assert is_dataclass(layer)
    assert layer.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert layer.examples()


@each_layer
def test_the_examples_of_a_layer_cover_every_hyperparameter(layer: type[Operator]) -> None:
    for field in fields(layer):
        values = {repr(getattr(example.operator, field.name)) for example in layer.examples()}
        assert len(values) > 1, f"every example has {field.name} = {values.pop()}"


@each_example
def test_every_element_of_output_and_gradients_is_written_and_nothing_beside_them(example: Example) -> None:
    bound = bind_example(example)
    results = {"y": bound.forward(), **bound.backward()}
    assert [name for name, values in results.items() if np.isnan(values).any()] == []


@each_example
def test_the_shape_rule_keeps_the_batch_and_scales_with_it(example: Example) -> None:
    double = [replace(x, shape=(2 * x.shape[0], *x.shape[1:])) for x in example.xs]
    output = example.operator.infer(*example.xs).output
    assert output.shape[0] == example.x.shape[0]
    assert example.operator.infer(*double).output.shape == (2 * output.shape[0], *output.shape[1:])


@each_example
def test_a_layer_counts_its_operations(example: Example) -> None:
    assert isinstance(example.operator.flops(*example.xs), int)
    assert example.operator.flops(*example.xs) >= 0


@each_example
def test_gradients_equal_central_differences(example: Example) -> None:
    if not example.differentiable:
        return
    bound = bind_example(example, dtype="float64")
    forward, weights = bound.program(bound.forward_launches), bound.host("dy")
    bound.forward()
    gradients = bound.backward()
    if example.operator.reshapes:
        bound.put("x", weights.reshape(example.x.shape))
    for name, gradient in gradients.items():

        def cost() -> float:
            forward()
            return float((bound.frame.y * weights).sum())

        expected = numeric_gradient(cost, getattr(bound.frame, name[1:]))
        assert np.abs(gradient - expected).max() <= 1e-6 * max(1, np.abs(expected).max()), name


@each_example
def test_float32_computes_what_float64_computes(example: Example) -> None:
    narrow, wide = bind_example(example), bind_example(example, dtype="float64")
    pairs = [(narrow.forward(), wide.forward())]
    pairs += zip(narrow.backward().values(), wide.backward().values(), strict=True)
    for got, expected in pairs:
        assert got.dtype == np.float32
        assert np.abs(got - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@each_example
def test_the_same_input_twice_gives_the_same_bits(example: Example) -> None:
    bound = bind_example(example)
    first = {"y": bound.forward(), **bound.backward()}
    second = {"y": bound.forward(), **bound.backward()}
    assert {k: v.tobytes() for k, v in first.items()} == {k: v.tobytes() for k, v in second.items()}


@each_example
def test_the_number_of_threads_changes_no_bit(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PARALLEL_WORK", 0)
    x = [replace(spec, shape=(301, *spec.shape[1:])) for spec in example.xs]
    one, two = (bind(example.operator, x, CpuBackend(threads), inputs=example.inputs) for threads in (1, 2))
    assert one.forward().tobytes() == two.forward().tobytes()
    for (name, first), second in zip(one.backward().items(), two.backward().values(), strict=True):
        assert first.tobytes() == second.tobytes(), name


@each_example
def test_a_layer_at_rest_fills_its_output(example: Example) -> None:
    bound = bind(example.operator, example.xs, inputs=example.inputs, training=False)
    assert not np.isnan(bound.forward()).any()


@each_example
def test_the_first_layer_of_a_network_leaves_out_the_gradient_nobody_needs(example: Example) -> None:
    bound = bind_example(example)
    bound.forward()
    gradients = bound.backward()
    first = Frame(**{**vars(bound.frame), "dx": None, "dxs": [None for _ in bound.inputs]})
    bound.program(tuple(example.operator.backward(first)))()
    for name in bound.params:
        assert bound.host(f"d{name}").tobytes() == gradients[f"d{name}"].tobytes(), name


def test_the_harness_sees_a_write_beside_an_array() -> None:
    bound = bind_example(next(iter(EXAMPLES.values())))
    bound.fence._fenced[-1][1][0] = 1
    assert bound.fence.broken() != []
