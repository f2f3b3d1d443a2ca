"""Metrics: scikit-learn's numbers, however the rows are cut into batches."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from services.confusion import report_of
from services.errors import NotFound
from services.metrics import METRICS, Meter, confusion, metric, report

SEEDS = st.integers(0, 2**32 - 1)


def classified(seed: int, n: int = 40, k: int = 6) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    scores = g.random((n, k), dtype=np.float32)
    return scores / scores.sum(axis=1, keepdims=True), g.integers(0, k, n).astype(np.int32)


def valued(seed: int, n: int = 40, k: int = 2) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    return g.normal(size=(n, k)).astype(np.float32), g.normal(size=(n, k)).astype(np.float32)


@given(SEEDS)
def test_accuracy_agrees_with_scikit_learn_for_class_numbers_and_for_one_hot_rows(seed: int) -> None:
    outputs, labels = classified(seed)
    expected = sk.accuracy_score(labels, outputs.argmax(axis=1))
    assert metric("accuracy")(outputs, labels) == expected
    assert metric("categorical_accuracy")(outputs, np.eye(6, dtype=np.float32)[labels]) == expected


@given(SEEDS)
def test_accuracy_of_one_output_is_judged_at_one_half(seed: int) -> None:
    g = np.random.default_rng(seed)
    outputs, labels = g.random((40, 1), dtype=np.float32), g.integers(0, 2, (40, 1)).astype(np.float32)
    expected = sk.accuracy_score(labels[:, 0] > 0.5, outputs[:, 0] > 0.5)
    assert metric("accuracy")(outputs, labels) == expected
    assert metric("accuracy")(outputs, labels[:, 0].astype(np.int32)) == expected
    assert metric("binary_accuracy")(outputs, labels) == expected


@given(SEEDS)
def test_top_5_accuracy_agrees_with_scikit_learn(seed: int) -> None:
    outputs, labels = classified(seed)
    expected = sk.top_k_accuracy_score(labels, outputs, k=5, labels=range(6))
    assert metric("top_k_categorical_accuracy")(outputs, labels) == pytest.approx(expected, abs=1e-12)


def test_a_score_that_is_no_number_is_never_among_the_top() -> None:
    outputs = np.full((1, 6), np.nan, np.float32)
    assert metric("top_k_categorical_accuracy")(outputs, np.array([0])) == 0


@given(SEEDS)
@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("mse", sk.mean_squared_error),
        ("mae", sk.mean_absolute_error),
        ("rmse", lambda y, p: math.sqrt(sk.mean_squared_error(y, p))),
        ("r2", sk.r2_score),
    ],
)
def test_errors_of_values_agree_with_scikit_learn(name: str, truth: object, seed: int) -> None:
    outputs, targets = valued(seed)
    expected = truth(targets.astype(np.float64), outputs.astype(np.float64))
    assert metric(name)(outputs, targets) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("guess", [3.0, 4.0])
def test_r2_of_constant_targets_follows_scikit_learn(guess: float) -> None:
    targets, outputs = np.full((5, 1), 3.0), np.full((5, 1), guess)
    assert metric("r2")(outputs, targets) == sk.r2_score(targets, outputs)


def test_r2_keeps_its_digits_when_the_targets_lie_far_from_zero() -> None:
    targets = 1e8 + np.arange(1000, dtype=np.float64)[:, np.newaxis]
    outputs = targets + np.sin(targets)
    meter = Meter(["r2"])
    for start in range(0, 1000, 7):
        meter.add(outputs[start : start + 7], targets[start : start + 7])
    assert meter.values()["r2"] == pytest.approx(sk.r2_score(targets, outputs), rel=1e-12)


@given(SEEDS, st.lists(st.integers(0, 40), max_size=6))
def test_batches_of_any_size_give_the_metric_of_the_whole(seed: int, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 40]
    for names, (outputs, targets) in (
        (["accuracy", "top_3_accuracy", "precision", "recall", "f1", "perplexity"], classified(seed)),
        (["mse", "mae", "rmse", "r2_score", "psnr", "snr"], valued(seed)),
    ):
        meter = Meter(names)
        for start, stop in itertools.pairwise(edges):
            meter.add(outputs[start:stop], targets[start:stop])
        for name, value in meter.values().items():
            assert value == pytest.approx(metric(name)(outputs, targets), rel=1e-12)


def test_a_meter_goes_on_from_its_state_in_json_with_the_same_bits() -> None:
    outputs, targets = valued(3)
    through, resumed = Meter(["mse", "r2", "psnr"]), Meter(["mse", "r2", "psnr"])
    through.add(outputs[:13], targets[:13])
    resumed.restore(json.loads(json.dumps(through.state())))
    for meter in (through, resumed):
        meter.add(outputs[13:], targets[13:])
    assert through.values() == resumed.values()


def test_no_rows_have_no_score() -> None:
    meter = Meter(["accuracy", "r2"])
    meter.add(np.zeros((0, 3)), np.zeros(0, np.int32))
    assert all(math.isnan(value) for value in meter.values().values())
    assert math.isnan(metric("mse")(np.zeros((0, 1)), np.zeros((0, 1))))


def test_a_meter_answers_by_the_names_it_was_asked_with() -> None:
    meter = Meter(["acc", "MeanSquaredError"])
    meter.add(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
    assert meter.values() == {"acc": 1.0, "MeanSquaredError": 0.0}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("acc", "accuracy"),
        ("R2Score", "r2_score"),
        ("TopKCategoricalAccuracy", "top_k_categorical_accuracy"),
        ("top_5_accuracy", "top_k_categorical_accuracy"),
        ("F1Score", "f1_score"),
        ("psnr", "peak_signal_to_noise_ratio"),
    ],
)
def test_keras_class_names_and_short_names_are_understood(name: str, meant: str) -> None:
    assert metric(name) is METRICS[meant]


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(NotFound) as caught:
        metric("acuracy")
    assert "Did you mean 'accuracy'?" in str(caught.value.hint)
    assert "r2_score" in str(caught.value.hint)


# --- classes one by one ---------------------------------------------------------------------------------------------

RATIOS = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
NAMES = tuple("abcdef")


@given(SEEDS, st.integers(1, 40))
@pytest.mark.parametrize("name", RATIOS)
def test_ratios_of_several_classes_are_scikit_learn_s_macro_average(name: str, seed: int, n: int) -> None:
    outputs, labels = classified(seed, n)
    expected = RATIOS[name](labels, outputs.argmax(axis=1), average="macro", zero_division=0)
    assert metric(name)(outputs, labels) == pytest.approx(expected, rel=1e-12)
    assert metric(name)(outputs, np.eye(6, dtype=np.float32)[labels]) == pytest.approx(expected, rel=1e-12)


@given(SEEDS, st.integers(1, 12))
@pytest.mark.parametrize("name", RATIOS)
def test_ratios_of_one_output_are_those_of_the_second_class(name: str, seed: int, n: int) -> None:
    g = np.random.default_rng(seed)
    outputs, labels = g.random((n, 1), dtype=np.float32), g.integers(0, 2, (n, 1)).astype(np.float32)
    expected = RATIOS[name](labels[:, 0], outputs[:, 0] > 0.5, average="binary", zero_division=0)
    assert metric(name)(outputs, labels) == pytest.approx(expected, rel=1e-12)


@given(SEEDS, st.integers(1, 40))
def test_the_confusion_matrix_is_scikit_learn_s(seed: int, n: int) -> None:
    outputs, labels = classified(seed, n)
    expected = sk.confusion_matrix(labels, outputs.argmax(axis=1), labels=range(6))
    assert confusion(outputs, labels, NAMES).tolist() == expected.tolist()
    assert report(outputs, labels, NAMES)["confusion_matrix"] == expected.tolist()


def test_the_confusion_matrix_of_one_output_has_two_classes() -> None:
    outputs, labels = np.array([[0.9], [0.2], [0.6], [0.4]]), np.array([[1.0], [0.0], [0.0], [1.0]])
    assert confusion(outputs, labels, ("no", "yes")).tolist() == [[1, 1], [1, 1]]


@given(SEEDS, st.integers(1, 40))
def test_the_report_says_what_scikit_learn_s_says(seed: int, n: int) -> None:
    outputs, labels = classified(seed, n)
    ours = report(outputs, labels, NAMES)
    given_labels = {"labels": range(6), "target_names": NAMES, "output_dict": True, "zero_division": 0}
    theirs = sk.classification_report(labels, outputs.argmax(axis=1), **given_labels)
    for row in ours["classes"]:
        expected = theirs[row["class"]]
        assert row["support"] == expected["support"]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(
            [expected["precision"], expected["recall"], expected["f1-score"]]
        )
    weighted = theirs["weighted avg"]
    assert ours["weighted"]["f1"] == pytest.approx(weighted["f1-score"])
    assert ours["weighted"]["precision"] == pytest.approx(weighted["precision"])
    assert ours["accuracy"] == pytest.approx(metric("accuracy")(outputs, labels))
    assert ours["macro"] == pytest.approx({name: metric(name)(outputs, labels) for name in RATIOS})
    assert json.loads(json.dumps(ours)) == ours


@given(SEEDS, st.integers(0, 40))
def test_matrices_of_batches_add_up_to_that_of_the_whole(seed: int, cut: int) -> None:
    outputs, labels = classified(seed)
    parts = [confusion(outputs[rows], labels[rows], NAMES) for rows in (slice(cut), slice(cut, None))]
    assert report_of(parts[0] + parts[1], NAMES) == report(outputs, labels, NAMES)


def test_a_report_without_rows_is_all_zero() -> None:
    empty = report(np.zeros((0, 6)), np.zeros(0, np.int32), NAMES)
    assert (empty["accuracy"], empty["macro"]["f1"], empty["classes"][0]["support"]) == (0, 0, 0)


# --- sequences and signals ------------------------------------------------------------------------------------------


@given(SEEDS)
@pytest.mark.parametrize("name", ["accuracy", "top_2_accuracy", "precision", "recall", "f1", "perplexity"])
def test_every_position_of_a_sequence_counts_as_a_row(name: str, seed: int) -> None:
    outputs, labels = classified(seed)
    deep = metric(name)(outputs.reshape(8, 5, 6), labels.reshape(8, 5))
    assert deep == metric(name)(outputs, labels)
    assert metric(name)(outputs.reshape(8, 5, 6), np.eye(6)[labels].reshape(8, 5, 6)) == deep


@given(SEEDS, st.integers(1, 6))
def test_the_number_of_best_answers_may_be_named(seed: int, k: int) -> None:
    outputs, labels = classified(seed)
    expected = sk.top_k_accuracy_score(labels, outputs, k=k, labels=range(6)) if k < 6 else 1.0
    assert metric(f"top_{k}_accuracy")(outputs, labels) == pytest.approx(expected, abs=1e-12)
    assert metric(metric(f"top_{k}_accuracy").name).name == metric(f"top_{k}_categorical_accuracy").name


@given(SEEDS)
def test_perplexity_is_e_to_scikit_learn_s_log_loss(seed: int) -> None:
    outputs, labels = classified(seed)
    wide = outputs.astype(np.float64)
    expected = math.exp(sk.log_loss(labels, wide / wide.sum(axis=1, keepdims=True), labels=range(6)))
    assert metric("perplexity")(outputs, labels) == pytest.approx(expected, rel=1e-6)


def test_even_odds_are_as_perplexing_as_there_are_classes() -> None:
    assert metric("perplexity")(np.full((3, 7, 65), 1 / 65), np.zeros((3, 7), np.int32)) == pytest.approx(65)


def test_an_answer_held_impossible_perplexes_beyond_measure_but_finitely() -> None:
    assert 1e37 < metric("perplexity")(np.array([[0.0, 1.0]]), np.array([0])) < math.inf


def test_signal_to_noise_by_hand() -> None:
    y = np.array([[3.0, -1.0], [0.0, 0.0]])
    noisy = y + np.array([[0.1, 0.0], [0.0, -0.3]])
    assert metric("snr")(noisy, y) == pytest.approx(10 * math.log10(10 / 0.1))
    assert metric("psnr")(noisy, y) == pytest.approx(10 * math.log10(4**2 / 0.025))


def test_halving_the_noise_gains_six_decibels() -> None:
    g = np.random.default_rng(0)
    y, noise = g.random((20, 8, 8, 1)), g.normal(size=(20, 8, 8, 1))
    for name in ("psnr", "snr"):
        gain = metric(name)(y + noise / 2, y) - metric(name)(y + noise, y)
        assert gain == pytest.approx(20 * math.log10(2))


def test_a_signal_without_noise_is_infinitely_clear_and_nothing_is_no_number() -> None:
    y, flat = np.array([[1.0], [2.0]]), np.zeros((2, 1))
    assert metric("snr")(y, y) == metric("psnr")(y, y) == math.inf
    assert math.isnan(metric("snr")(flat, flat))
    assert metric("snr")(y, flat) == -math.inf


@given(SEEDS)
@pytest.mark.parametrize("name", ["mse", "mae", "rmse", "r2", "psnr", "snr"])
def test_values_may_be_sequences_and_images(name: str, seed: int) -> None:
    outputs, targets = valued(seed, 10, 12)
    shaped = metric(name)(outputs.reshape(10, 2, 3, 2), targets.reshape(10, 2, 3, 2))
    assert shaped == pytest.approx(metric(name)(outputs, targets), rel=1e-12)
