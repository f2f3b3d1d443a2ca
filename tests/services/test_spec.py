"""A spec is read strictly, and every mistake in it comes back at once, at its place, with a remedy."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents import from_yaml
from services.errors import Invalid, Mistake
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
