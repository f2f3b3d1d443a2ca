"""Ten illnesses, planted in small jobs: the doctor names each, and is silent on jobs that are well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.documents import from_yaml
from services.preflight import check
from services.remedies import merged
from services.spec import parse_job
from tests.services.planting import (
    dense,
    digits,
    findings,
    labels_shuffled,
    leaked,
    messages_of,
    one_in_a_hundred,
    present,
    sorted_by_class,
    start_weights,
    tampered,
    tumours,
)

Plant = Callable[[pytest.MonkeyPatch], dict[str, Any]]


def zeros(_: pytest.MonkeyPatch) -> dict[str, Any]:
    """All weights start at zero."""
    return digits(
        dense(32, kernel_initializer="zeros"), dense(10, kernel_initializer="zeros"), training__epochs=4
    )  # fmt: skip


def hundredfold_rate(_: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hundred times the rate that suits the network."""
    return digits(dense(32), dense(32), training__optimizer={"type": "adam", "learning_rate": 0.5}, training__epochs=8)


def sunken_biases(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The biases of a rectified layer start at −10."""
    start_weights(monkeypatch, lambda name, value: value - 10 if name == "dense/b" else value)
    return digits(dense(32), training__epochs=4)


def saturated(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A sigmoid layer starts with forty times the weights."""
    start_weights(monkeypatch, lambda name, value: 40 * value if name == "dense_1/w" else value)
    return digits(dense(32, "sigmoid"), dense(32, "sigmoid"), training__epochs=2)


def shuffled_labels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Every row has the label of another."""
    tampered(monkeypatch, labels_shuffled)
    return digits(dense(128), training__epochs=40, training__optimizer={"type": "adam", "learning_rate": 0.01})


def imbalance(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Ninety-nine rows of one class for one of the other."""
    tampered(monkeypatch, one_in_a_hundred)
    return tumours()


def leak(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The test part stands in the train part."""
    tampered(monkeypatch, leaked)
    return digits(dense(32))


def raw_numbers(_: pytest.MonkeyPatch) -> dict[str, Any]:
    """Columns up to 4,254, as they are in the file."""
    return tumours(dataset__preprocessing=[])


def sorted_rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One class after the other, and no shuffling."""
    tampered(monkeypatch, sorted_by_class)
    return digits(dense(32), training__shuffle=False, training__epochs=4)


def one_unit(_: pytest.MonkeyPatch) -> dict[str, Any]:
    """Ten classes through a single hidden unit."""
    return digits(dense(1), dataset__train_fraction=1.0, training__epochs=32, baseline=True)


PLANTED: dict[str, Plant] = {
    "symmetric_units": zeros,
    "learning_rate_too_big": hundredfold_rate,
    "dead_relu": sunken_biases,
    "saturation": saturated,
    "labels_unrelated": shuffled_labels,
    "class_imbalance": imbalance,
    "test_in_training": leak,
    "unscaled_input": raw_numbers,
    "sorted_rows": sorted_rows,
    "network_too_small": one_unit,
}
"""Illness by code, and the job it is planted in."""


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_illness_is_named_and_its_patch_is_a_spec(
    code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = PLANTED[code](monkeypatch)
    ill = present(messages_of(spec, tmp_path))
    assert set(ill) == {code}
    found = ill[code]
    assert found["explanation"].count(". ") == 1, "two sentences"
    assert found["measured"] != found["threshold"]
    if found["patch"] is not None:
        check(parse_job(merged(parse_job(spec).resolved(), found["patch"])))


HEALTHY = ["iris_mlp", "breast_cancer_mlp", "diabetes_linear", "xor_mlp", "perceptron_and", "digits_cnn"]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_example_hears_nothing(name: str, tmp_path: Path) -> None:
    spec = from_yaml(Path(f"examples/{name}.yaml").read_bytes()) | {"baseline": False}
    if name == "digits_cnn":
        spec["training"]["epochs"] = 4
    assert findings(messages_of(spec, tmp_path)) == []
