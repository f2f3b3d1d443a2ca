"""What every loss in the registry promises, alone and fused with an activation. No loss is named here."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from kernels import backend
from kernels.backend import CpuBackend
from kernels.operator import Loss, LossExample, ShapeError
from kernels.registry import layers, losses
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind, bind_loss, every_loss_example, numeric_gradient

EXAMPLES = dict(every_loss_example())
FUSED = [(loss, activation) for loss in losses.members.values() for activation in loss.fused]
each_example = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
each_loss = pytest.mark.parametrize("loss", losses.members.values(), ids=losses.members.keys())


def enlarged(example: LossExample, rows: int) -> LossExample:
    """The same case with more rows."""
    specs = (replace(spec, shape=(rows, *spec.shape[1:])) for spec in (example.x, example.target))
    return LossExample(example.loss, *specs, example.inputs)


@each_loss
def test_a_loss_explains_itself_with_a_formula(loss: type[Loss]) -> None:
    assert loss.__doc__ is not None
    assert "L =" in loss.__doc__


@each_loss
def test_the_examples_of_a_loss_and_of_its_fused_forms_cover_every_hyperparameter(loss: type[Loss]) -> None:
    for form in (loss, *loss.fused.values()):
        for field in fields(loss):
            values = {repr(getattr(example.loss, field.name)) for example in form.examples()}
            assert len(values) > 1, f"every example has {field.name} = {values.pop()}"


@each_example
def test_the_example_fits_and_a_target_of_another_shape_is_refused_with_both_shapes(example: LossExample) -> None:
    example.loss.infer(example.x, example.target)
    wrong = TensorSpec((*example.target.shape, 3), example.target.dtype)
    with pytest.raises(ShapeError) as caught:
        example.loss.infer(example.x, wrong)
    assert str(example.x.shape) in str(caught.value)
    assert str(wrong.shape) in str(caught.value)


@each_example
def test_the_cost_of_a_row_and_its_gradient_are_written_and_nothing_beside_them(example: LossExample) -> None:
    bound = bind_loss(example)
    assert np.isfinite(bound.forward()).all()
    assert np.isfinite(bound.backward()["dx"]).all()


@each_example
def test_a_row_costs_nothing_or_more_but_what_an_agent_gained_may_be_more_than_it_cost(example: LossExample) -> None:
    policies = example.loss.target == "actions" and example.loss.type != "temporal_difference"
    assert policies or (bind_loss(example).forward() >= 0).all()


@each_example
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_the_gradient_is_that_of_the_mean_over_the_rows_that_count(example: LossExample, missing: int) -> None:
    valid = example.x.shape[0] - missing
    bound = bind_loss(example, dtype="float64", valid=valid)
    forward = bound.program(bound.forward_launches)
    bound.forward()
    gradient = bound.backward()["dx"]

    def cost() -> float:
        forward()
        return float(bound.frame.loss[:valid].mean())

    expected = numeric_gradient(cost, bound.frame.x[:valid], h=1e-7)
    assert np.abs(gradient[:valid] - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


@each_example
def test_padding_rows_cost_nothing_and_teach_nothing_whatever_they_hold(example: LossExample) -> None:
    bound = bind_loss(example, valid=2)
    assert (bound.forward()[2:] == 0).all()
    assert (bound.backward()["dx"][2:] == 0).all()


@each_example
def test_float32_computes_what_float64_computes(example: LossExample) -> None:
    narrow, wide = bind_loss(example), bind_loss(example, dtype="float64")
    for got, expected in ((narrow.forward(), wide.forward()), (narrow.backward()["dx"], wide.backward()["dx"])):
        assert got.dtype == np.float32
        assert np.abs(got - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@each_example
def test_neither_repetition_nor_the_number_of_threads_changes_a_bit(
    example: LossExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "PARALLEL_WORK", 0)
    runs = [bind_loss(enlarged(example, 301), CpuBackend(threads)) for threads in (1, 1, 2)]
    assert len({bound.forward().tobytes() for bound in runs}) == 1
    assert len({bound.backward()["dx"].tobytes() for bound in runs}) == 1


@pytest.mark.parametrize(("loss", "activation"), FUSED, ids=[f"{loss.type}+{a}" for loss, a in FUSED])
def test_a_fused_loss_is_the_loss_of_the_activation(loss: type[Loss], activation: str) -> None:
    for example in loss.fused[activation].examples():
        fused = bind_loss(example, dtype="float64")
        output = bind(layers[activation](), example.x, dtype="float64")
        output.put("x", fused.host("x"))
        apart = bind_loss(replace(example, loss=loss(**asdict(example.loss))), dtype="float64")
        apart.put("t", fused.host("t"))
        apart.put("x", output.forward() if loss.fused[activation] is not loss else fused.host("x"))
        assert np.allclose(fused.forward(), apart.forward(), rtol=1e-6)
        if layers[activation]().teachable:
            output.put("dy", apart.backward()["dx"])
            assert np.allclose(fused.backward()["dx"], output.backward()["dx"], rtol=1e-6, atol=1e-12)
