"""A spec is read strictly, and every mistake in it comes back at once, at its place, with a remedy."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents import from_yaml
from services.errors import Invalid, Mistake
from services.job_spec import JobSpec
from services.spec import catalog, job_schema, parse_job
from tests.services.jobs_to_post import IRIS, changed

EXAMPLES = sorted(Path("examples").glob("*.yaml"))

TEN_MISTAKES = """
schema: trainyard/v1
nam: typo
task: classification
dataset: {name: digitz, train_fraction: 2}
network:
  layers:
    - {type: conv2d, filters: 0, kernel_size: 3, activaton: relu}
    - {type: dnse, units: 10}
    - {type: dense, activation: rellu}
training:
  loss: sparse_categorical_crossentropie
  optimizer: {type: sdg, learning_rate: 0.1}
  batch_size: 0
  epochs: many
  clipnorm: 0
resources: {device: tpu, max_runtime: 2 hours}
"""


def mistakes_in(data: Any) -> dict[str, Mistake]:
    with pytest.raises(Invalid) as caught:
        parse_job(data)
    return {mistake.path: mistake for mistake in caught.value.mistakes}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_valid_spec(path: Path) -> None:
    assert parse_job(path.read_text()).resolved()["schema"] == "trainyard/v1"


def test_a_resolved_spec_reads_back_as_itself() -> None:
    spec = parse_job(IRIS)
    assert parse_job(spec.resolved()) == spec
    assert json.loads(json.dumps(spec.resolved())) == spec.resolved()


def test_many_mistakes_come_back_in_one_answer_each_at_its_place() -> None:
    found = mistakes_in(TEN_MISTAKES)
    assert set(found) == {
        "nam",
        "dataset.name",
        "dataset.train_fraction",
        "network.layers[0].filters",
        "network.layers[0].activaton",
        "network.layers[1].type",
        "network.layers[2].units",
        "network.layers[2].activation.type",
        "training.loss.type",
        "training.optimizer.type",
        "training.batch_size",
        "training.epochs",
        "training.clipnorm",
        "resources.device",
        "resources.max_runtime",
    }


@pytest.mark.parametrize(
    ("path", "guess"),
    [
        ("nam", "'name'"),
        ("network.layers[0].activaton", "'activation'"),
        ("network.layers[1].type", "'dense'"),
        ("network.layers[2].activation.type", "'relu'"),
        ("training.loss.type", "'sparse_categorical_crossentropy'"),
        ("training.optimizer.type", "'sgd'"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_one_that_was_meant(path: str, guess: str) -> None:
    assert f"Did you mean {guess}" in (mistakes_in(TEN_MISTAKES)[path].hint or "")


def test_sense_is_checked_beside_form() -> None:
    found = mistakes_in(changed(IRIS, dataset__name="irish", training__epochs=0, name=""))
    assert {"dataset.name", "training.epochs", "name"} <= set(found)
    assert "'iris'" in (found["dataset.name"].hint or "")


BESIDE = [
    ({"dataset__name": "irish", "dataset__train_fraction": 2}, {"dataset.name", "dataset.train_fraction"}),
    ({"training__metrics": ["acuracy"], "training__epochs": 0}, {"training.metrics[0]", "training.epochs"}),
    (
        {"training__early_stopping": {"monitor": "val_f1"}, "training__epoch": 3},
        {"training.early_stopping.monitor", "training.epoch"},
    ),
    (
        {"training__optimizer": "sdg", "network__layers": [{"type": "dense", "units": 4, "activation": "softmax"}]},
        {"training.optimizer.type", "network.layers[0]"},
    ),
    ({"network__layers": [{"type": "conv2d", "filters": 3, "kernel_size": 3}, {"type": "dens"}]},
     {"network.layers[0]", "network.layers[1].type"}),
    ({"task": "regression", "dataset__split": {"train": 0.9, "validation": 0.5}}, {"task", "dataset.split"}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "paths"), BESIDE)
def test_a_mistake_of_form_hides_no_mistake_of_sense_in_the_same_section(
    change: dict[str, Any], paths: set[str]
) -> None:
    assert set(mistakes_in(changed(IRIS, **change))) == paths


@pytest.mark.parametrize("place", ["", "training__"])
def test_a_flood_of_mistakes_is_answered_soon(place: str) -> None:
    began = time.monotonic()
    flood = {f"{place}q{number}": 1 for number in range(50_000)}
    found = mistakes_in(changed(IRIS, **flood) if place else {**IRIS, **flood})
    layers = [{"type": "conv2d", f"q{number}": 1} for number in range(512)]
    assert 500 <= len(found) <= 1100
    assert len(mistakes_in(changed(IRIS, network__layers=layers))) >= 500
    assert time.monotonic() - began < 4


def test_what_is_wrong_is_not_blamed_on_what_is_right() -> None:
    stopping = {"monitor": "val_mean_absolute_error"}
    spec = changed(IRIS, training__metrics="mean_absolute_error", training__early_stopping=stopping)
    assert set(mistakes_in(spec)) == {"training.metrics"}
    spec = changed(IRIS, task="clasification", training__early_stopping={"monitor": "val_accuracy"})
    assert set(mistakes_in(spec)) == {"task"}
    assert set(mistakes_in(changed(IRIS, training__loss="crossentropie"))) == {"training.loss.type"}


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"dataset": "iris"}, "dataset", "needs named parts (key: value)"),
        ({"network": ["dense"]}, "network", "needs named parts (key: value)"),
        ({"network__layers": []}, "network.layers", "list should have at least 1 item"),
        ({"network__layers": [3]}, "network.layers[0]", "needs named parts (key: value)"),
        (
            {"training__batch_size": "fulll"},
            "training.batch_size",
            "input should be a valid integer, unable to parse string as an integer, or input should be 'full'",
        ),
        ({"resources": {"max_runtime": "2 weeks"}}, "resources.max_runtime", "a duration is seconds, or text such as"),
    ],
)
def test_mistakes_are_told_in_a_users_words(change: dict[str, Any], path: str, message: str) -> None:
    assert mistakes_in(changed(IRIS, **change))[path].message.startswith(message)


def test_keras_class_names_and_short_forms_are_understood() -> None:
    layers = [{"type": "Dense", "units": 3, "activation": {"type": "Softmax"}}]
    spec = parse_job(changed(IRIS, network__layers=layers, training__optimizer="Adam"))
    assert spec.resolved()["network"]["layers"][0]["activation"] == {"type": "softmax"}
    assert spec.resolved()["training"]["optimizer"]["learning_rate"] == pytest.approx(0.001)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("2d", 172800), (45, 45)])
def test_durations_are_text_or_seconds(text: Any, seconds: float) -> None:
    assert parse_job(changed(IRIS, resources={"max_runtime": text})).resources.max_runtime == seconds


@pytest.mark.parametrize(
    "text", ["a: [", "\t- x", "a: &x 1\nb: *x", "&a [*a]", "'unclosed", "!!python/object:os.system {}"]
)
def test_text_that_is_not_plain_yaml_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(Invalid):
        from_yaml(text.encode())


@pytest.mark.parametrize("data", ["", "5", "[]", None, 7, [], "text"])
def test_what_is_no_object_is_refused(data: Any) -> None:
    assert "" in mistakes_in(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES = [
    *("name", "task", "dataset", "dataset__name", "dataset__split", "network", "network__layers", "resources"),
    *("training", "training__loss", "training__optimizer", "training__batch_size", "training__metrics"),
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_any_value_at_any_place_gives_a_spec_or_mistakes_never_an_accident(place: str, value: Any) -> None:
    with contextlib.suppress(Invalid):
        parse_job(changed(IRIS, **{place: value}))


def test_the_schema_and_the_catalog_name_every_layer_with_its_documentation() -> None:
    schema, found = json.dumps(job_schema()), catalog()
    for layer in found["layers"]:
        assert layer["doc"]
        assert f'"{layer["type"]}"' in schema
    assert {"dense", "conv2d", "max_pooling2d", "average_pooling2d", "flatten", "dropout"} <= {
        layer["type"] for layer in found["layers"]
    }


def test_reading_a_spec_needs_neither_numba_nor_scikit_learn() -> None:
    code = (
        "import sys; from services.spec import parse_job; parse_job(open('examples/digits_cnn.yaml').read());"
        "print([m for m in ('numba', 'sklearn', 'scipy', 'cupy', 'pooch') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (True, {"seconds": 10.0, "whole": False}),
        (False, None),
        ({"seconds": 3}, {"seconds": 3.0, "whole": False}),
        ({"whole": True}, {"seconds": 10.0, "whole": True}),
    ],
)
def test_the_baseline_has_a_budget_and_an_off_switch(said: Any, meant: Any) -> None:
    spec = parse_job(changed(IRIS, baseline=said))
    assert isinstance(spec, JobSpec)
    assert spec.baseline_options == meant


def test_a_baseline_without_time_is_refused_at_its_place() -> None:
    with pytest.raises(Invalid) as caught:
        parse_job(changed(IRIS, baseline={"seconds": 0, "hole": True}))
    assert {mistake.path for mistake in caught.value.mistakes} == {"baseline.seconds", "baseline.hole"}
