"""Data sets: cards that tell the truth, splits that are fair and repeatable, and targets as losses want them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import datasets
from services.datasets import (
    Split,
    card,
    cards,
    load,
    one_hot,
    option_types,
    options,
    options_schema,
    sizes,
    target_form,
    target_shape,
    targets_for,
)
from services.datasets.base import Raw
from services.datasets.splits import Sizes, cut_test, cut_validation, sizes_in_order
from services.datasets.splits import sizes as plain_sizes
from services.errors import Invalid, NotFound

BUNDLED = ["digits", "iris", "wine", "breast_cancer", "diabetes"]
LOGIC = {"logic_and": [0, 0, 0, 1], "logic_or": [0, 1, 1, 1], "logic_xor": [0, 1, 1, 0]}
SEEDS = st.integers(0, 2**63 - 1)
PINNED_TRAIN = [5, 4, 7, 14, 19, 6, 8, 13, 15, 18, 2, 0, 11, 9, 12, 17, 16, 10]
PINNED_VALIDATION = [1, 3]


def rows_of(part: datasets.Part) -> set[bytes]:
    return {row.tobytes() for row in part.x}


# --- cards ---------------------------------------------------------------------------------------------------------


def test_the_known_data_sets_are_there() -> None:
    files = {"california_housing", "titanic", "penguins", "wine_quality", "etth1", "vlissingen_tide", "spoken_digits"}
    texts = {"tiny_shakespeare", "movie_reviews"}
    images = {"mnist", "fashion_mnist", "cifar10", "cifar10_part"}
    assert set(cards()) >= {*BUNDLED, *LOGIC, *files, *texts, *images}


def test_importing_data_sets_imports_no_heavy_package() -> None:
    code = "import sys, services.datasets as d; d.cards(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"sklearn", "scipy", "pooch", "requests", "numba"} & set(done.stdout.split())


@pytest.mark.parametrize("name", [*BUNDLED, *LOGIC])
def test_a_card_agrees_with_the_data_that_are_loaded(name: str) -> None:
    found, loaded = card(name), load(name)
    parts = (loaded.train, loaded.validation, loaded.test)
    assert tuple(map(len, parts)) == sizes(found)
    for part in parts:
        assert part.x.shape[1:] == found.input_shape
        assert part.x.dtype == np.float32
        assert part.x.flags.c_contiguous
        assert len(part.y) == len(part)
    if found.classes is None:
        assert loaded.train.y.dtype == np.float32
        assert loaded.train.y.shape[1:] == (len(found.target_names),)
    else:
        assert loaded.train.y.dtype == np.int32
        assert set(loaded.train.y) == set(range(len(found.classes)))
    if found.features is not None:
        assert (len(found.features),) == found.input_shape


@pytest.mark.parametrize("name", BUNDLED)
def test_cards_use_the_names_of_scikit_learn(name: str) -> None:
    import sklearn.datasets

    bunch, found = getattr(sklearn.datasets, f"load_{name}")(), card(name)
    assert found.train + found.test == len(bunch.data)
    assert found.train == round(0.8 * len(bunch.data))
    if found.classes is not None:
        assert list(found.classes) == [str(each) for each in bunch.target_names]
    if found.features is not None:
        assert list(found.features) == list(bunch.feature_names)


@pytest.mark.parametrize("spelling", ["fashion-mnist", "fashion_mnist", "Fashion-MNIST", "fashion"])
def test_dash_underscore_and_case_make_no_difference(spelling: str) -> None:
    assert card(spelling).name == "fashion_mnist"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("ETTh1", "etth1"), ("CIFAR-10", "cifar10"), ("cifar10-part", "cifar10_part"), ("FSDD", "spoken_digits")],
)
def test_a_data_set_is_found_under_the_name_that_its_publisher_writes(spelling: str, name: str) -> None:
    assert card(spelling).name == name


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(NotFound) as caught:
        card("mnits")
    assert caught.value.message == "There is no data set 'mnits'."
    assert "Did you mean 'mnist'?" in str(caught.value.hint)
    assert "breast_cancer" in str(caught.value.hint)


@pytest.mark.parametrize(("name", "outputs"), LOGIC.items())
def test_every_part_of_a_truth_table_is_the_whole_table(name: str, outputs: list[int]) -> None:
    loaded = load(name, Split(train=0.5, validation=0.2, seed=7), train_fraction=0.5)
    for part in (loaded.train, loaded.validation, loaded.test):
        assert part.x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
        assert part.y.tolist() == outputs


# --- splits --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 6), min_size=5, max_size=300),
    st.floats(0.05, 0.95),
    st.floats(0, 0.9),
    st.floats(0.01, 1),
    SEEDS,
)
def test_parts_are_disjoint_and_stratified_whatever_the_labels(
    values: list[int], test: float, validation: float, fraction: float, seed: int
) -> None:
    labels, n = np.array(values), len(values)
    held = int(n * test)
    test_rows, rest = cut_test(labels, n, held)
    counts = Sizes(n - held - int((n - held) * validation), int((n - held) * validation), held)
    counts = counts._replace(train=max(1, int(counts.train * fraction)))
    train_rows, validation_rows = cut_validation(labels[rest], len(rest), counts, seed)
    parts = [rest[train_rows], rest[validation_rows], test_rows]
    assert tuple(map(len, parts)) == counts
    assert len(set(np.concatenate(parts))) == sum(counts)
    for label in set(values):
        share = np.count_nonzero(labels == label) * held / n
        assert abs(np.count_nonzero(labels[test_rows] == label) - share) < 1
        left = np.count_nonzero(labels[rest] == label) * counts.validation / max(1, len(rest))
        assert abs(np.count_nonzero(labels[parts[1]] == label) - left) < 1


@given(st.integers(1, 400), st.integers(1, 400), SEEDS)
def test_fewer_training_rows_are_the_first_of_the_many(n: int, few: int, seed: int) -> None:
    labels = np.arange(n) % 3
    many, _ = cut_validation(labels, n, Sizes(n, 0, 0), seed)
    some, _ = cut_validation(labels, n, Sizes(min(few, n), 0, 0), seed)
    np.testing.assert_array_equal(some, many[: len(some)])
    counts = np.bincount(labels[some], minlength=3)
    assert counts.max() - counts.min() <= 1 or n < 9


@given(
    st.integers(1, 10_000),
    st.integers(0, 10_000),
    st.floats(0.01, 1),
    st.floats(0, 0.99),
    st.one_of(st.none(), st.floats(0.01, 0.99)),
    st.floats(0.001, 1),
)
def test_sizes_never_exceed_the_rows_or_are_refused(
    train: int, test: int, share: float, validation: float, cut: float | None, fraction: float
) -> None:
    try:
        found = plain_sizes(train, test, False, Split(share, validation, cut), fraction)
    except Invalid as error:
        paths = {mistake.path for mistake in error.mistakes}
        found = None
    if found is None:
        assert paths <= {"dataset.split", "dataset.split.train"}
    else:
        assert found.train >= 1
        assert min(found) >= 0
        assert sum(found) <= train + test


@pytest.mark.parametrize("name", BUNDLED)
def test_the_test_part_is_the_same_for_every_seed_and_shares_no_row_with_the_others(name: str) -> None:
    one, two = load(name, Split(seed=1)), load(name, Split(0.5, 0.3, seed=2, stratify=False))
    np.testing.assert_array_equal(one.test.x, two.test.x)
    np.testing.assert_array_equal(one.test.y, two.test.y)
    assert one.sha256 == two.sha256
    total = sum(map(len, (one.train, one.validation, one.test)))
    # iris and digits hold the same flower or image more than once; only truly equal rows may meet.
    shared = rows_of(one.train) & (rows_of(one.validation) | rows_of(one.test))
    assert len(shared) <= total - len(rows_of(one.train) | rows_of(one.validation) | rows_of(one.test))


@pytest.mark.parametrize("name", [name for name in BUNDLED if name != "diabetes"])
def test_every_part_has_the_classes_in_the_proportion_of_the_whole(name: str) -> None:
    loaded = load(name, Split(0.7, 0.3))
    parts = (loaded.train.y, loaded.validation.y, loaded.test.y)
    whole = np.bincount(np.concatenate(parts)) / sum(map(len, parts))
    for y in parts:
        assert np.abs(np.bincount(y) - whole * len(y)).max() < 2


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    one, again, other = load("wine", Split(seed=3)), load("wine", Split(seed=3)), load("wine", Split(seed=4))
    np.testing.assert_array_equal(one.train.x, again.train.x)
    assert rows_of(one.validation) != rows_of(other.validation)


def test_the_rows_of_a_seed_never_change() -> None:
    """Pinned: a stored job must find the rows it was trained on, on every machine and under every NumPy."""
    train, validation = cut_validation(None, 20, Sizes(18, 2, 0), seed=1)
    assert validation.tolist() == PINNED_VALIDATION
    assert train.tolist() == PINNED_TRAIN


def test_a_share_for_test_is_a_share_of_all_rows() -> None:
    assert sizes(card("iris"), Split(0.6, 0.2, 0.2)) == (90, 30, 30)
    assert len(load("iris", Split(0.6, 0.2, 0.2)).test) == 30
    assert sizes(card("iris"), Split(0.5, 0.1)) == (60, 12, 30)
    assert sizes(card("iris"), Split(), train_fraction=0.1) == (11, 12, 30)
    assert sizes(card("mnist")) == (54_000, 6_000, 10_000)


@pytest.mark.parametrize(
    ("name", "split", "fraction", "path"),
    [
        ("iris", Split(0.9, 0.2), 1.0, "dataset.split"),
        ("iris", Split(0.9, 0.1, 0.2), 1.0, "dataset.split"),
        ("iris", Split(0.0, 0.1), 1.0, "dataset.split.train"),
        ("iris", Split(0.9, -0.1), 1.0, "dataset.split.validation"),
        ("iris", Split(0.9, 0.1, 1.5), 1.0, "dataset.split.test"),
        ("iris", Split(0.001, 0.0), 1.0, "dataset.split.train"),
        ("iris", Split(), 0.0, "dataset.train_fraction"),
        ("iris", Split(float("nan")), 1.0, "dataset.split.train"),
        ("mnist", Split(0.7, 0.1, 0.2), 1.0, "dataset.split.test"),
    ],
)
def test_a_split_that_cannot_be_is_refused_before_anything_is_loaded(
    name: str, split: Split, fraction: float, path: str
) -> None:
    with pytest.raises(Invalid) as caught:
        load(name, split, train_fraction=fraction, datasets_dir=Path("/nowhere"))
    assert [mistake.path for mistake in caught.value.mistakes] == [path]


def test_preprocessing_is_fitted_on_the_train_part_alone() -> None:
    loaded = load("wine", preprocessing=[{"type": "normalization"}])
    np.testing.assert_allclose(loaded.train.x.mean(axis=0), 0, atol=1e-5)
    assert np.abs(loaded.test.x.mean(axis=0)).max() > 0.01
    plain = load("wine")
    np.testing.assert_array_equal(loaded.pipeline.apply(plain.test.x), loaded.test.x)
    np.testing.assert_array_equal(loaded.pipeline.apply(plain.train.x), loaded.train.x)


def test_the_hash_names_the_content_in_every_bit() -> None:
    x, y = np.zeros((3, 2), np.float32), np.arange(3)
    hashes = [Raw(x, y), Raw(x.reshape(2, 3), y), Raw(x.astype(np.float64), y), Raw(x + 1, y), Raw(x, y, x, y)]
    assert len({raw.sha256() for raw in hashes}) == len(hashes)
    assert Raw(x, y).sha256() == Raw(x.copy(), y.copy()).sha256()


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(cards()))
def test_the_card_is_that_of_the_default_options(name: str) -> None:
    assert card(name) == cards()[name] == card(name, {}) == card(name, option_types()[name]())
    assert option_types()[name]() == options(name)
    assert options_schema(name)["additionalProperties"] is False


def test_options_decide_shapes_and_rows_before_anything_is_loaded() -> None:
    found = card("etth1", {"window": 48, "horizon": 12, "features": "all"})
    assert (found.input_shape, len(found.target_names)) == ((48, 7), 12)
    assert (found.train, found.validation, found.test) == (8_640 - 48 - 12 + 1, 2_880 - 12 + 1, 2_880 - 12 + 1)
    assert found.target_names[0] == "OT +1 h"
    found = card("movie_reviews", {"vocabulary": 500, "length": 20})
    assert (found.input_shape, found.vocabulary, found.input_dtype) == ((20,), 500, "int32")
    assert card("spoken_digits", {"features": "waveform", "seconds": 0.5}).input_shape == (4_000, 1)
    assert card("spoken_digits", {"bins": 24}).input_shape == (61, 24)
    assert card("wine_quality", {"target": "colour"}).tasks == ("classification",)


@pytest.mark.parametrize(
    ("name", "values", "path", "code"),
    [
        ("etth1", {"windw": 9}, "dataset.windw", "unknown_key"),
        ("iris", {"window": 9}, "dataset.window", "unknown_key"),
        ("etth1", {"window": 0}, "dataset.window", "greater_than_equal"),
        ("etth1", {"window": 10**9}, "dataset.window", "less_than_equal"),
        ("etth1", {"horizon": 1.5}, "dataset.horizon", "int_from_float"),
        ("etth1", {"target": "oil"}, "dataset.target", "literal_error"),
        ("spoken_digits", {"seconds": float("nan")}, "dataset.seconds", "finite_number"),
        ("spoken_digits", {"hold_out": "nobody"}, "dataset.hold_out", "literal_error"),
        ("tiny_shakespeare", {"sequence_length": "long"}, "dataset.sequence_length", "int_parsing"),
        ("movie_reviews", {"vocabulary": 2}, "dataset.vocabulary", "greater_than_equal"),
        ("tiny_shakespeare", {"sequence_length": 4096, "stride": 1}, "dataset.stride", "too_many"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_loaded(
    name: str, values: dict[str, object], path: str, code: str
) -> None:
    for look in (card, lambda name, values: load(name, datasets_dir=Path("/nowhere"), options=values)):
        with pytest.raises(Invalid) as caught:
            look(name, values)
        assert [(mistake.path, mistake.code) for mistake in caught.value.mistakes] == [(path, code)]


@pytest.mark.parametrize(("name", "written", "meant"), [("etth1", "windw", "window"), ("iris", "splitt", "split")])
def test_an_unknown_option_names_the_known_ones(name: str, written: str, meant: str) -> None:
    with pytest.raises(Invalid) as caught:
        card(name, {written: 9})
    assert f"Did you mean {meant!r}?" in str(caught.value.mistakes[0].hint)


# --- parts in order of time, and parts that the publisher made ------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "path"),
    [(Split(0.8, 0.2), "dataset.split"), (Split(0.9, 0.1, 0.1), "dataset.split.test"), (Split(0), "dataset.split")],
)
def test_a_published_split_is_kept(split: Split, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        sizes(card("etth1"), split)
    assert path in [mistake.path for mistake in caught.value.mistakes]
    assert sizes(card("etth1"), Split(seed=5), 0.5) == (4_261, 2_857, 2_857)


@given(st.integers(50, 5_000), st.integers(0, 40), st.floats(0.1, 0.9), st.floats(0, 0.5), st.floats(0.01, 1))
def test_rows_in_order_leave_a_gap_before_validation(
    rows: int, gap: int, train: float, validation: float, fraction: float
) -> None:
    split = Split(train, min(validation, 1 - train))
    try:
        found = sizes_in_order(rows, 10, gap, split, fraction)
    except Invalid as error:
        assert [mistake.path for mistake in error.mistakes] == ["dataset.split.train"]  # noqa: PT017
        return
    assert found.test == 10
    assert 1 <= found.train <= rows - found.validation - (gap if found.validation else 0)


# --- targets -------------------------------------------------------------------------------------------------------

LABELS = np.array([0, 2, 1], np.int32)


def test_sparse_categorical_crossentropy_takes_class_numbers() -> None:
    found = targets_for("sparse_categorical_crossentropy", LABELS, 3)
    assert found.dtype == np.int32
    assert found.tolist() == [0, 2, 1]


@pytest.mark.parametrize(("loss", "units"), [("CategoricalCrossentropy", None), ("mse", 3), ("binary_crossentropy", 3)])
def test_one_column_per_class_takes_one_hot_rows(loss: str, units: int | None) -> None:
    found = targets_for(loss, LABELS, 3, units)
    assert found.dtype == np.float32
    assert found.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("loss", ["binary_crossentropy", "BinaryCrossentropy", "perceptron", "mean_squared_error"])
@pytest.mark.parametrize("units", [None, 1])
def test_two_classes_fit_one_output(loss: str, units: int | None) -> None:
    found = targets_for(loss, np.array([0, 1], np.int32), 2, units)
    assert found.dtype == np.float32
    assert found.tolist() == [[0], [1]]


def test_values_stay_values_in_columns() -> None:
    y = np.array([1.5, 2.5], np.float32)
    assert targets_for("mse", y, None).tolist() == [[1.5], [2.5]]
    assert targets_for("mean_absolute_error", y.reshape(1, 2), None).shape == (1, 2)


@pytest.mark.parametrize(
    ("loss", "classes", "units", "message", "hint"),
    [
        ("binary_crossentropy", 10, None, "one output with 10 classes", "sparse_categorical_crossentropy"),
        ("perceptron", 3, 1, "1 outputs with 3 classes", "3 units"),
        ("mse", 3, 2, "2 outputs with 3 classes", "3 units"),
        ("sparse_categorical_crossentropy", None, 1, "targets are values", "mean_squared_error"),
        ("binary_crossentropy", None, 1, "targets are values", "mean_squared_error"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_with_one_that_does(
    loss: str, classes: int | None, units: int | None, message: str, hint: str
) -> None:
    with pytest.raises(Invalid) as caught:
        targets_for(loss, LABELS, classes, units)
    (mistake,) = caught.value.mistakes
    assert mistake.path == "training.loss"
    assert message in mistake.message
    assert hint in str(mistake.hint)


@given(st.integers(2, 9).flatmap(lambda k: st.tuples(st.just(k), st.lists(st.integers(0, k - 1), max_size=20))))
def test_one_hot_rows_point_back_at_their_class(example: tuple[int, list[int]]) -> None:
    classes, labels = example
    rows = one_hot(np.array(labels, np.int32), classes)
    assert rows.shape == (len(labels), classes)
    assert rows.sum() == len(labels)
    assert rows.argmax(axis=1).tolist() == labels


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_number_that_is_no_class_is_refused(wrong: int) -> None:
    with pytest.raises(Invalid, match="not from 0 to 2"):
        one_hot(np.array([0, wrong]), 3)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy", "mse"])
def test_the_shape_of_targets_is_known_before_the_data_are(loss: str) -> None:
    shape, dtype = target_shape(target_form(loss, 3), 3)
    found = targets_for(loss, LABELS, 3)
    assert (found.shape[1:], str(found.dtype)) == (shape, dtype)
