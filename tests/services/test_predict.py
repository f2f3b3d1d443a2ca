"""A trained model answers from its file alone, in the data set's own units."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services import datasets, predict, training_job
from services.errors import DataError, Invalid
from services.predict import Model
from services.spec import parse_job
from tests.services.jobs_to_post import IRIS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    *_, done = training_job.run(parse_job(IRIS).resolved(), folder, None, "cpu", 1, Path("unused"), lambda: False)
    return predict.load(Path(done["artifacts"][0]["path"]))


def test_raw_flowers_are_classified_like_the_test_part(model: Model) -> None:
    raw = datasets.load("iris")
    said = model.predict(raw.test.x.tolist())["predictions"]
    classes = raw.card.classes or ()
    hits = [row["class"] == classes[y] for row, y in zip(said, raw.test.y, strict=True)]
    assert np.mean(hits) >= 0.9


def test_probabilities_sum_to_one_and_the_first_is_the_largest(model: Model) -> None:
    (row,) = model.predict([[5.1, 3.5, 1.4, 0.2]])["predictions"]
    chances = [entry["probability"] for entry in row["top"]]
    assert sum(chances) == pytest.approx(1, abs=1e-5)
    assert chances == sorted(chances, reverse=True)
    assert row["class"] == row["top"][0]["class"] == "setosa"


def test_a_row_predicts_the_same_alone_and_among_others(model: Model) -> None:
    rows = datasets.load("iris").train.x[:100].tolist()
    together = model.predict(rows)["predictions"]
    assert [model.predict([row])["predictions"][0] for row in rows[60:70]] == together[60:70]


@pytest.mark.parametrize(
    "row", [[1, 2, 3], [1, 2, 3, 4, 5], ["a", "b", "c", "d"], None, [[1, 2], [3]], [1, 2, 3, float("nan")], {}, "1234"]
)
def test_a_row_that_does_not_fit_is_named(model: Model, row: object) -> None:
    with pytest.raises(Invalid) as caught:
        model.predict([[1, 2, 3, 4], row])
    assert [mistake.path for mistake in caught.value.mistakes] == ["inputs[1]"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats() | st.integers() | st.text(max_size=3) | st.none(), max_size=5), max_size=3))
def test_any_request_gives_predictions_or_mistakes(model: Model, rows: list[list[object]]) -> None:
    with contextlib.suppress(Invalid):
        assert len(model.predict(rows)["predictions"]) == len(rows)


def test_the_schema_describes_exactly_the_rows_it_takes(model: Model) -> None:
    inputs = model.schema()["properties"]["inputs"]
    assert inputs["items"]["minItems"] == inputs["items"]["maxItems"] == 4


@pytest.mark.parametrize("damage", ["", "garbage", "truncated"])
def test_a_damaged_file_is_refused(model: Model, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes({"": b"", "garbage": b"\xff" * 64, "truncated": b"\x08\x00\x00\x00\x00\x00\x00\x00{}"}[damage])
    with pytest.raises(DataError, match=r"model\.safetensors"):
        predict.load(path)
