"""Preprocessing: fitted on the train part, scikit-learn's numbers, and nothing lost on the way through JSON."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.preprocessing import StandardScaler

from services.datasets.preprocessing import Normalization, Pipeline, Rescaling
from services.errors import Invalid

FLOATS = st.floats(-1e3, 1e3, width=32)
TABLES = arrays.arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=FLOATS)


def test_rescaling_multiplies_and_adds() -> None:
    x = np.array([[0, 255], [51, 102]], np.uint8)
    pipeline = Pipeline((Rescaling(scale=1 / 255, offset=-0.5),))
    np.testing.assert_allclose(pipeline.apply(x), x / 255 - 0.5, atol=1e-7)


@given(TABLES, st.floats(-1e3, 1e3))
def test_normalization_agrees_with_standard_scaler(x: np.ndarray, shift: float) -> None:
    x = (x + np.float32(shift)).astype(np.float32)
    scaler = StandardScaler().fit(x.astype(np.float64))
    fitted = Pipeline((Normalization(),)).fit(x.copy())
    mean, variance = fitted.steps[0].mean, fitted.steps[0].variance
    np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(variance, scaler.var_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["load_iris", "load_wine", "load_breast_cancer", "load_diabetes"])
def test_applying_a_normalization_equals_standard_scaler(name: str) -> None:
    import sklearn.datasets

    x = getattr(sklearn.datasets, name)().data.astype(np.float32)
    train, other = x[::2], x[1::2]
    fitted = Pipeline.of([{"type": "normalization"}]).fit(train.copy())
    scaler = StandardScaler().fit(train.astype(np.float64))
    np.testing.assert_allclose(fitted.apply(other), scaler.transform(other.astype(np.float64)), rtol=1e-4, atol=1e-4)


def test_a_feature_that_never_changes_is_only_shifted() -> None:
    x = np.full((5, 2), 7, np.float32)
    fitted = Pipeline((Normalization(),)).fit(x.copy())
    np.testing.assert_array_equal(fitted.apply(x + 1), np.ones((5, 2)))


def test_images_are_normalized_channel_by_channel() -> None:
    x = np.random.default_rng(1).normal((0, 5), (1, 3), (50, 4, 4, 2)).astype(np.float32)
    y = Pipeline((Normalization(),)).fit(x.copy()).apply(x)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, atol=1e-5)


def test_the_mean_of_many_rows_is_exact_where_float32_sums_would_drift() -> None:
    x = np.full((200_000, 1), 0.1, np.float32)
    fitted = Pipeline((Normalization(),)).fit(x)
    assert fitted.steps[0].mean == pytest.approx([float(np.float32(0.1))], rel=1e-12)


def test_steps_are_fitted_each_on_what_the_one_before_made() -> None:
    x = np.array([[0.0], [10.0]], np.float32)
    fitted = Pipeline((Rescaling(0.1), Normalization())).fit(x)
    assert fitted.steps[1].mean == pytest.approx((0.5,))
    np.testing.assert_allclose(x, [[-1], [1]], rtol=1e-6)


@given(TABLES)
def test_a_fitted_pipeline_survives_json_bit_for_bit(x: np.ndarray) -> None:
    fitted = Pipeline((Rescaling(0.3, 1), Normalization())).fit(x.copy())
    again = Pipeline.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    np.testing.assert_array_equal(again.apply(x), fitted.apply(x))


def test_numbers_too_large_for_float32_stay_at_its_largest() -> None:
    largest = np.finfo(np.float32).max
    pipeline = Pipeline((Normalization((0.0, 0.0), (0.01, 0.01)), Rescaling(10.0)))
    assert pipeline.apply([[largest, -largest]]).tolist() == [[largest, -largest]]


def test_json_has_the_keras_names() -> None:
    fitted = Pipeline((Rescaling(2.0), Normalization((1.0,), (4.0,))))
    assert fitted.to_json() == [
        {"type": "rescaling", "scale": 2.0, "offset": 0.0},
        {"type": "normalization", "mean": (1.0,), "variance": (4.0,)},
    ]


def test_apply_leaves_what_it_was_given_alone() -> None:
    x = np.ones((2, 2), np.float32)
    Pipeline((Rescaling(3),)).apply(x)
    np.testing.assert_array_equal(x, 1)


def test_fitting_again_keeps_what_is_known() -> None:
    known = Normalization((1.0,), (4.0,))
    assert known.fit(np.zeros((3, 1), np.float32)) is known


def test_keras_class_names_are_understood() -> None:
    assert Pipeline.of([{"type": "Rescaling", "scale": 2}]) == Pipeline((Rescaling(2),))


def test_all_mistakes_come_at_once_with_their_paths() -> None:
    steps = [
        {"type": "rescalling", "scale": 1},
        {"type": "rescaling", "scal": 1},
        {"type": "rescaling"},
        {"scale": 1},
        {"type": "rescaling", "scale": float("nan")},
        {"type": "rescaling", "scale": True},
        {"type": "normalization", "mean": [1.0]},
        {"type": "normalization", "mean": [1.0], "variance": [-1.0]},
        {"type": "normalization", "mean": 3, "variance": 4},
    ]
    with pytest.raises(Invalid) as caught:
        Pipeline.of(steps)
    found = {mistake.path: mistake for mistake in caught.value.mistakes}
    assert list(found) == [
        "dataset.preprocessing[0].type",
        "dataset.preprocessing[1].scal",
        "dataset.preprocessing[2]",
        "dataset.preprocessing[3].type",
        *(f"dataset.preprocessing[{number}]" for number in range(4, 9)),
    ]
    assert "Did you mean 'rescaling'?" in str(found["dataset.preprocessing[0].type"].hint)
    assert "Did you mean 'scale'?" in str(found["dataset.preprocessing[1].scal"].hint)


def test_the_wrong_number_of_features_is_refused() -> None:
    known = Normalization((1.0,), (4.0,))
    with pytest.raises(Invalid, match="is for 1 features, and the data have 3"):
        Pipeline((known,)).apply(np.zeros((2, 3)))
    with pytest.raises(Invalid) as caught:
        Pipeline.of([Rescaling(1), known], features=3)
    assert [mistake.path for mistake in caught.value.mistakes] == ["dataset.preprocessing[1].mean"]
