"""Baselines: what a network must beat, on the same rows, in the time that is allowed."""

import json
import time

import numpy as np
import pytest

from services.baseline import SCORES, baseline
from services.datasets import Card, Dataset, Part, Pipeline, load
from services.errors import Invalid


def made(n: int, classes: tuple[str, ...] | None, y: np.ndarray) -> Dataset:
    x = np.random.default_rng(1).normal(size=(n, 4)).astype(np.float32)
    card = Card("made", "", "table", (), (4,), classes, ("y",), n, n, "", "", "")
    part = Part(x, y)
    return Dataset(card, part, part, part, Pipeline(), "")


def test_the_trivial_guess_of_a_classification_is_the_most_frequent_class() -> None:
    found = baseline(load("breast_cancer"), "classification", 1)
    assert found["trivial"]["guess"] == "benign"
    assert found["trivial"]["score"] == pytest.approx(357 / 569, abs=0.01)


def test_the_trivial_guess_of_a_regression_is_the_mean() -> None:
    dataset = load("diabetes")
    found = baseline(dataset, "regression", 1)["trivial"]
    mean = dataset.train.y.astype(np.float64).mean()
    assert found["guess"] == pytest.approx([mean])
    assert found["score"] == pytest.approx(np.square(dataset.test.y - mean).mean())
    assert found["scores"]["r2_score"] == pytest.approx(0, abs=0.02)


def test_the_best_classical_model_agrees_with_scikit_learn_itself() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.metrics import mean_squared_error
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dataset = load("diabetes")
    found = baseline(dataset, "regression", 0)
    ridge = make_pipeline(StandardScaler(), Ridge()).fit(dataset.train.x, dataset.train.y[:, 0])
    expected = mean_squared_error(dataset.test.y, ridge.predict(dataset.test.x))
    assert found["best"]["name"] == "ridge regression"
    assert found["best"]["score"] == pytest.approx(expected)


@pytest.mark.parametrize(("name", "floor"), [("iris", 0.9), ("wine", 0.9), ("breast_cancer", 0.93)])
def test_the_best_model_is_good_and_beats_the_trivial_guess(name: str, floor: float) -> None:
    found = baseline(load(name, preprocessing=[{"type": "normalization"}]), "classification", 5)
    assert found["best"]["score"] >= floor > found["trivial"]["score"]
    assert found["best"]["rows"] == len(load(name).train)
    assert {each["name"] for each in found["tried"]} >= {"logistic regression", "k-nearest neighbours", "random forest"}


def test_the_best_is_chosen_on_the_validation_part() -> None:
    found = baseline(load("diabetes"), "regression", 5)
    assert found["best"]["validation_score"] == min(each["validation_score"] for each in found["tried"])


def test_no_time_leaves_the_first_model_on_some_rows() -> None:
    n = 5_000
    began = time.monotonic()
    found = baseline(made(n, ("a", "b"), (np.arange(n) % 2).astype(np.int32)), "classification", 0)
    assert [(each["name"], each["rows"]) for each in found["tried"]] == [("logistic regression", 1000)]
    assert time.monotonic() - began < 10


def test_rows_of_one_class_leave_what_can_learn_from_them() -> None:
    found = baseline(made(10, ("a", "b"), np.zeros(10, np.int32)), "classification", 5)
    assert found["trivial"]["score"] == 1
    assert "logistic regression" not in [each["name"] for each in found["tried"]]


@pytest.mark.parametrize(("name", "task"), [("logic_xor", "classification"), ("diabetes", "regression")])
def test_the_answer_is_plain_json_with_every_score_of_the_task(name: str, task: str) -> None:
    found = json.loads(json.dumps(baseline(load(name), task, 1), allow_nan=False))
    assert list(found["trivial"]["scores"]) == list(found["best"]["scores"]) == list(SCORES[task])
    assert found["metric"] == SCORES[task][0]


def test_a_task_without_a_baseline_is_refused() -> None:
    with pytest.raises(Invalid, match="there is no baseline for the task 'autoencoder'"):
        baseline(load("iris"), "autoencoder")


def test_whole_models_are_judged_on_the_test_part_as_scikit_learn_judges_them() -> None:
    from sklearn.ensemble import RandomForestClassifier

    dataset = load("iris", train_fraction=0.3)
    found = baseline(dataset, "classification", 30, whole=True)
    told = {each["name"]: each for each in found["tried"]}
    assert {each["rows"] for each in found["tried"]} == {len(dataset.train)}
    forest = RandomForestClassifier(n_estimators=100, random_state=0).fit(dataset.train.x, dataset.train.y)
    assert told["random forest"]["score"] == pytest.approx(forest.score(dataset.test.x, dataset.test.y))
    assert found["skipped"] == []


def test_a_whole_model_that_would_take_too_long_is_left_out() -> None:
    n = 5_000
    found = baseline(made(n, ("a", "b"), (np.arange(n) % 2).astype(np.int32)), "classification", 0, whole=True)
    assert (found["tried"], found["best"], found["skipped"]) == ([], None, ["logistic regression"])


def test_forecasts_have_classical_models_that_see_the_same_windows() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8, 1)).astype(np.float32)
    y = np.stack([x[:, -1, 0] + x[:, -2, 0], x[:, -1, 0]], axis=1).astype(np.float32)
    card = Card("made", "", "series", (), (8, 1), None, ("a", "b"), 200, 200, "", "", "")
    part = Part(x, y)
    found = baseline(Dataset(card, part, part, part, Pipeline(), ""), "forecasting", 5)
    assert found["best"]["name"] == "ridge regression"
    assert found["best"]["score"] < 0.01 * found["trivial"]["score"]


def texts(symbols: np.ndarray, size: int) -> Dataset:
    x, y = symbols[:, :-1].astype(np.int32), symbols[:, 1:].astype(np.int32)
    card = Card("made", "", "text", (), (x.shape[1],), None, (), len(x), len(x), "", "", "", vocabulary=size)
    part = Part(x, y)
    return Dataset(card, part, part, part, Pipeline(), "")


def test_a_text_is_guessed_from_what_follows_what() -> None:
    cycle = np.tile(np.arange(4), 100).reshape(-1, 20)
    found = baseline(texts(cycle, 4), "language_model")
    assert found["trivial"]["score"] == pytest.approx(np.log(4), rel=0.02)
    assert found["best"]["score"] < 0.05
    assert found["best"]["scores"]["perplexity"] == pytest.approx(np.exp(found["best"]["score"]))


def test_a_text_without_order_is_guessed_by_frequency() -> None:
    symbols = np.random.default_rng(0).choice(3, size=(400, 30), p=[0.5, 0.3, 0.2])
    found = baseline(texts(symbols, 3), "language_model")
    entropy = -np.sum(np.array([0.5, 0.3, 0.2]) * np.log([0.5, 0.3, 0.2]))
    assert found["trivial"]["score"] == pytest.approx(entropy, rel=0.02)
    assert found["best"]["score"] == pytest.approx(entropy, rel=0.03)
