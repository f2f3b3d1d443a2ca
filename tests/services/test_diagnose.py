"""The doctor changes nothing, forgets nothing, and keeps to what it can judge."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.backend import CpuBackend
from services import data_facts, datasets, looks, probe
from services.diagnose import illnesses
from services.events import Looked
from services.illness import Case, Moment, Weights
from services.job_spec import LOSSES, OPTIMIZERS
from services.plan import Plan, Recipe
from services.preflight import check
from services.remedies import merged
from services.spec import parse_job
from tests.services.jobs_to_post import IRIS, changed
from tests.services.planting import (
    dense,
    digits,
    findings,
    labels_shuffled,
    messages_of,
    present,
    start_weights,
    tampered,
    tumours,
)

ILL = digits(dense(32), dense(32), training__optimizer={"type": "adam", "learning_rate": 0.5}, training__epochs=8)


@pytest.mark.parametrize("batch_size", [1, 16, "full"])
def test_looking_does_not_change_a_bit(batch_size: Any, tmp_path: Path) -> None:
    spec = changed(IRIS, training__batch_size=batch_size, training__epochs=5)
    with_doctor, without = (messages_of(changed(spec, diagnostics=on), tmp_path) for on in (True, False))
    for name in ("weights_sha256", "metrics", "test"):
        assert with_doctor[-1]["result"][name] == without[-1]["result"][name]
    assert with_doctor[-1]["metrics"] == without[-1]["metrics"]


def test_looking_does_not_change_what_batch_normalization_keeps(tmp_path: Path) -> None:
    layers = [dense(8, None), {"type": "batch_normalization"}, {"type": "relu"}, {"type": "dropout", "rate": 0.2}]
    spec = digits(*layers, training__epochs=3, training__batch_size=10)
    both = [messages_of(changed(spec, diagnostics=on), tmp_path)[-1]["result"] for on in (True, False)]
    assert both[0]["weights_sha256"] == both[1]["weights_sha256"]


class Leaving:
    """Asks for a checkpoint at every event, as a worker that is going down does."""

    def __call__(self) -> bool:
        return False

    def checkpoint_wanted(self) -> bool:
        return True


@pytest.mark.parametrize("stopping", [None, {"monitor": "val_loss", "patience": 2}], ids=["whole", "early"])
def test_a_run_that_is_cut_hears_what_a_whole_one_hears(stopping: Any, tmp_path: Path) -> None:
    spec = changed(ILL, training__early_stopping=stopping)
    whole = messages_of(spec, tmp_path)
    assert findings(whole), "the whole run hears nothing: this would compare nothing"
    part = messages_of(spec, tmp_path, stop=Leaving())
    cuts = [number for number, message in enumerate(part) if message["type"] == "checkpoint"]
    for number in cuts[:: max(1, len(cuts) // 6)]:
        rest = messages_of(spec, tmp_path, resume=Path(part[number]["path"]))
        assert findings(part[:number]) + findings(rest) == findings(whole)


def test_a_finding_is_taken_back_when_it_has_passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start_weights(monkeypatch, lambda name, value: 12 * value if name == "dense/w" else value)
    told = findings(messages_of(digits(dense(32, "sigmoid"), training__epochs=8), tmp_path))
    assert [(found["code"], found["state"]) for found in told] == [("saturation", "present"), ("saturation", "gone")]


def test_switched_off_nobody_looks(tmp_path: Path) -> None:
    assert findings(messages_of(changed(ILL, diagnostics=False), tmp_path)) == []


def test_looks_are_few_and_the_last_epoch_is_one_of_them() -> None:
    assert [epoch for epoch in range(1, 21) if looks.of_epoch(epoch, 20)] == [1, 2, 4, 8, 16, 20]
    assert sum(looks.of_epoch(epoch, 100_000) for epoch in range(1, 100_001)) == 18
    assert looks.steps_before(0, 5, 0, 20, 1, 9) == 0
    assert looks.steps_before(35, 5, 15, 20, 2, 9) == 4
    assert looks.steps_before(30, 5, 10, 20, 2, 9) is None
    assert looks.steps_before(55, 5, 15, 20, 3, 9) is None


def test_divergence_is_named_with_a_smaller_rate(tmp_path: Path) -> None:
    spec = changed(IRIS, training__optimizer={"type": "sgd", "learning_rate": 1e30}, training__loss="mse")
    spec = changed(spec, network__layers=[dense(8), dense(3, None)])
    told = messages_of(spec, tmp_path)
    assert told[-1]["reason"] == "diverged"
    found = present(told)["learning_rate_too_big"]
    assert found["patch"] == {"training": {"optimizer": {"learning_rate": 1e28}}}


def test_a_rate_that_moves_nothing_is_named(tmp_path: Path) -> None:
    spec = digits(dense(32), training__optimizer={"type": "adam", "learning_rate": 1e-8}, training__epochs=4)
    assert set(present(messages_of(spec, tmp_path))) == {"learning_rate_too_small"}


def test_a_gradient_that_fades_is_named(tmp_path: Path) -> None:
    sigmoids = [dense(16, "sigmoid") for _ in range(10)]
    assert set(present(messages_of(digits(*sigmoids, training__epochs=4), tmp_path))) == {"vanishing_gradient"}


def test_an_unlearnable_target_is_a_loss_at_chance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tampered(monkeypatch, labels_shuffled)
    told = messages_of(digits(dense(4), training__epochs=4), tmp_path)
    assert set(present(told)) == {"loss_at_chance"}


def test_rows_that_repeat_by_nature_are_not_a_leak() -> None:
    """Iris has one such row; and where equal inputs have different targets, repetitions say nothing."""
    found = datasets.load("iris")
    assert data_facts.facts_of(found, "classification", "", found.train.y).copied == 0
    blank = {n: dataclasses.replace(p, x=np.zeros_like(p.x)) for n, p in (("train", found.train), ("test", found.test))}
    bare = dataclasses.replace(found, **blank)
    assert data_facts.facts_of(bare, "classification", "", bare.train.y).copied is None


def test_chance_is_the_loss_of_the_best_constant_guess() -> None:
    labels = np.array([0, 1, 2, 3] * 5, np.int32)
    assert data_facts.chance("sparse_categorical_crossentropy", labels) == pytest.approx(math.log(4))
    assert data_facts.chance("categorical_crossentropy", np.eye(4, dtype=np.float32)) == pytest.approx(math.log(4))
    coin = np.array([[0], [1]], np.float32)
    assert data_facts.chance("binary_crossentropy", coin) == pytest.approx(math.log(2))
    values = np.array([[1], [2], [6]], np.float32)
    assert data_facts.chance("mean_squared_error", values) == pytest.approx(np.var([1, 2, 6]))
    assert data_facts.chance("mean_absolute_error", values) == pytest.approx((1 + 0 + 4) / 3)
    assert data_facts.chance("hinge", values) is None


def test_the_probe_reads_norms_as_numpy_does() -> None:
    spec = parse_job(digits(dense(4)))
    flight = check(spec)
    recipe = Recipe(LOSSES.build(spec.training.loss), flight.target, OPTIMIZERS.build(spec.training.optimizer))
    plan = Plan(flight.network, CpuBackend(), recipe)
    plan.initialize(0)
    before = plan.backend.get(plan.w)
    plan.w[...] *= 1.5
    plan.dw[...] = 2.0
    source = plan.feed(np.ones((5, 8, 8, 1), np.float32), np.zeros(5, np.int32))
    first, last = probe.Probe(plan, source).weights(Looked(1, 1, 5, 0.1, before))
    assert first.ratio == pytest.approx(0.5)
    assert first.gradient == pytest.approx(2 * math.sqrt(64 * 4))
    assert (first.path, last.path) == ("network.layers[1]", "network.layers[2]")
    assert first.spread is not None
    assert first.spread > 1


# What a Case must look like for the illnesses that no small job shows within a second.


def case(spec: dict[str, Any], task: str = "classification", **more: Any) -> Case:
    """A run of 32 epochs on 1,000 rows of two equal classes."""
    facts = data_facts.DataFacts(
        math.log(2), 0.5, {"a": 500, "b": 500}, {"train": 1000, "validation": 400, "test": 400}, 1.0, 0.0, 0, None
    )
    resolved = parse_job(spec).resolved()
    return Case(spec=resolved, task=task, epochs=32, parameters=50, outputs=2, picture=False, facts=facts, **more)


def moments(*losses: float, **last: float) -> list[Moment]:
    """Epochs 1, 2, 4, … with these training losses; other values in the last."""
    made = [Moment(2**k, {"loss": loss}) for k, loss in enumerate(losses)]
    return [*made[:-1], Moment(made[-1].epoch, {"loss": losses[-1], **last})]


def codes(found: Case) -> set[str]:
    """Every illness that sees itself."""
    return {name for name, kind in illnesses.members.items() if list(kind().look(found))}


def test_a_rising_validation_loss_is_overfitting() -> None:
    found = case(tumours(), epoch=32, history=moments(0.5, 0.3, 0.2, 0.1, 0.05, 0.02, val_loss=0.5))
    found.best = Moment(4, {"loss": 0.3, "val_loss": 0.3})
    assert codes(found) == {"overfitting"}
    found.spec["training"]["early_stopping"] = {"monitor": "val_loss", "restore_best_weights": True}
    assert codes(found) == set()


def test_steps_to_and_fro_are_a_plateau() -> None:
    found = case(tumours(), epoch=32, history=moments(0.6, 0.5, 0.45, 0.44, 0.44, 0.44))
    found.weights = (Weights("network.layers[0]", "dense", 1.0, 1.0, 0.01, 3.0),)
    assert codes(found) == {"plateau"}


def result(ours: float, best: float, trivial: float) -> Mapping[str, Any]:
    """Test accuracies: ours, the best classical one, that of the commonest class."""
    scores = {"best": {"scores": {"accuracy": best}}, "trivial": {"scores": {"accuracy": trivial}}}
    return {"test": {"accuracy": ours}, "baseline": scores}


def test_behind_the_classical_model_and_still_learning_is_too_short() -> None:
    found = case(tumours(), epoch=32, ended=True, history=moments(0.65, 0.64, 0.6, 0.55, 0.5, 0.3, accuracy=0.7))
    found.result = result(0.7, 0.95, 0.5)
    assert codes(found) == {"trained_too_short"}


def test_worse_than_the_commonest_class_is_named() -> None:
    found = case(tumours(), epoch=32, ended=True, history=moments(0.6, 0.5, 0.4, 0.3, 0.2, 0.1, accuracy=0.9))
    found.result = result(0.4, 0.5, 0.5)
    assert codes(found) == {"below_trivial"}


def test_a_gradient_that_grows_is_named() -> None:
    found = case(tumours(), epoch=2, history=moments(0.69, 0.68))
    found.weights = (
        Weights("network.layers[0]", "dense", 1.0, 1e6, 0.01, 3.0),
        Weights("network.layers[1]", "dense_1", 1.0, 1.0, 0.01, None),
    )
    assert codes(found) == {"exploding_gradient"}


def test_a_column_that_is_the_target_is_named() -> None:
    found = case(tumours())
    found.facts = dataclasses.replace(found.facts, told=("price in cents", 1.0))
    assert codes(found) == {"target_among_inputs"}


def test_a_merge_patch_is_that_of_rfc_7396() -> None:
    """Cases of its appendix A."""
    for target, patch, wanted in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, ["bar"], ["bar"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert merged(target, patch) == wanted


def test_what_an_illness_explains_exists() -> None:
    known = set(illnesses.members)
    for kind in illnesses.members.values():
        assert kind.explains <= known - {kind.type}, kind.type
        assert kind.explanation.count(". ") == 1, "two sentences"


def test_findings_are_plain_json_and_name_their_layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start_weights(monkeypatch, lambda name, value: value - 10 if name == "dense/b" else value)
    (found,) = findings(messages_of(digits(dense(32), training__epochs=2), tmp_path))
    assert json.loads(json.dumps(found)) == found
    assert (found["path"], found["layer"]) == ("network.layers[1].activation", "dense.relu")
    assert (found["measured"], found["threshold"], found["unit"]) == (1.0, 0.5, "share of units")
