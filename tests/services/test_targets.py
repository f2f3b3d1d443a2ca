"""Targets take the form that each loss of the registry says it compares with."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.registry import losses
from kernels.tensor import TensorSpec
from services.datasets import target_form, target_shape, targets_for
from services.errors import Invalid

LABELS = np.array([0, 2, 1], np.int32)
each_loss = pytest.mark.parametrize("name", [n for n, kind in losses.members.items() if kind.target != "actions"])


@each_loss
def test_every_loss_takes_three_classes_in_its_own_form(name: str) -> None:
    form = target_form(name, 3, 3)
    assert form == {"labels": "index"}.get(losses[name].target, "one_hot")
    found = targets_for(name, LABELS, 3, 3)
    losses[name]().infer(TensorSpec((3, 3)), TensorSpec(found.shape, found.dtype.name))


@each_loss
def test_only_losses_of_values_take_values(name: str) -> None:
    if losses[name].target == "values":
        assert target_form(name, None) == "values"
        return
    with pytest.raises(Invalid, match="compares classes"):
        target_form(name, None)


@each_loss
def test_every_loss_takes_what_its_form_says_for_a_sequence(name: str) -> None:
    kind = losses[name]
    y = np.zeros((4, 5, 2), np.float32) if kind.target == "values" else np.zeros((4, 5), np.int32)
    classes = None if kind.target == "values" else 2
    form = target_form(name, classes, 2)
    found = targets_for(name, y, classes, 2)
    shape, dtype = target_shape(form, classes, columns=2, positions=(5,))
    assert (found.shape, found.dtype.name) == ((4, *shape), dtype)
    kind().infer(TensorSpec((4, 5, 2)), TensorSpec(found.shape, dtype))


@pytest.mark.parametrize("name", ["hinge", "SquaredHinge", "binary_focal_crossentropy"])
def test_answers_of_two_classes_are_a_column_of_zero_and_one(name: str) -> None:
    assert targets_for(name, np.array([0, 1], np.int32), 2, 1).tolist() == [[0], [1]]


@pytest.mark.parametrize("name", ["kl_divergence", "CategoricalFocalCrossentropy"])
def test_losses_between_distributions_take_one_hot_rows_also_for_two_classes(name: str) -> None:
    assert targets_for(name, np.array([0, 1], np.int32), 2, 1).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("name", ["huber", "LogCosh"])
def test_images_of_values_keep_their_shape(name: str) -> None:
    y = np.zeros((3, 4, 5, 1), np.float32)
    assert targets_for(name, y, None).shape == y.shape
    assert targets_for(name, np.zeros(3), None).shape == (3, 1)


def test_labels_of_a_sequence_become_one_hot_at_every_step() -> None:
    found = targets_for("kl_divergence", np.array([[0, 2], [1, 1]], np.int32), 3)
    assert found.argmax(axis=-1).tolist() == [[0, 2], [1, 1]]
    assert found.sum() == 4
