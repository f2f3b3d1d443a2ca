"""Built-in data sets out of files: what their publishers say about them is what the cards say and the arrays hold.

Needs the files: from the cache folder, or downloaded. Without either the tests are skipped.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services import datasets
from services.datasets import Dataset, Pipeline, Split, card, cards, sizes
from services.datasets.audio import SPEAKERS
from services.datasets.cifar import CLASSES
from services.datasets.series import SOURCES as SERIES
from services.datasets.text import ALPHABET
from services.datasets.words import Characters
from services.errors import DataError, Invalid

Load = Callable[..., Dataset]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("california_housing", {}),
    ("titanic", {}),
    ("penguins", {}),
    ("wine_quality", {}),
    ("wine_quality", {"wine": "red"}),
    ("wine_quality", {"target": "colour"}),
    ("etth1", {}),
    ("etth1", {"window": 48, "horizon": 12, "stride": 7, "target": "HUFL", "features": "all", "scaled": False}),
    ("vlissingen_tide", {"stride": 24}),
    ("spoken_digits", {"hold_out": "theo", "validate_on": "lucas", "bins": 24}),
    ("spoken_digits", {"features": "waveform", "seconds": 0.5}),
    ("tiny_shakespeare", {"sequence_length": 100, "stride": 30}),
    ("movie_reviews", {"vocabulary": 500, "length": 20}),
    ("cifar10_part", {}),
]


@pytest.fixture(scope="session")
def loaded(datasets_dir: Path) -> Load:
    """`datasets.load` from the cache folder; where a file is neither there nor to be had, the test is skipped."""

    kept: dict[str, Dataset] = {}

    def load(name: str, options: dict[str, Any] | None = None, split: Split = Split(), **more: Any) -> Dataset:  # noqa: B008
        key = f"{name} {options or {}} {split} {more}"
        if key not in kept:
            try:
                kept[key] = datasets.load(name, split, datasets_dir=datasets_dir, options=options, **more)
            except DataError as error:
                if "could not be downloaded" in error.message:
                    pytest.skip(f"the files of {name} are not here and cannot be downloaded")
                raise
        return kept[key]

    return load


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_card_knows_before_loading_what_is_loaded(loaded: Load, name: str, options: dict[str, Any]) -> None:
    known, found = card(name, options), loaded(name, options)
    assert found.card == known
    parts = (found.train, found.validation, found.test)
    assert tuple(map(len, parts)) == sizes(known)
    for part in parts:
        assert part.x.shape[1:] == known.input_shape
        assert part.x.dtype == known.input_dtype
        assert part.x.flags.c_contiguous
        assert len(part.y) == len(part.x)
    assert np.isfinite(found.train.x).all()
    if known.classes is None:
        assert found.train.y.shape[1:] == (len(known.target_names),)
        assert found.train.y.dtype == np.float32
    else:
        assert found.train.y.dtype == np.int32
        assert set(np.unique(found.train.y)) == set(range(len(known.classes)))
    if known.features is not None:
        assert len(known.features) == known.input_shape[-1]
    if known.vocabulary is not None:
        assert 0 <= found.train.x.min() <= found.train.x.max() < known.vocabulary


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_pipeline_survives_json_and_does_the_same(loaded: Load, name: str, options: dict[str, Any]) -> None:
    found = loaded(name, options)
    again = Pipeline.from_json(json.loads(json.dumps(found.pipeline.to_json())))
    assert again == found.pipeline
    np.testing.assert_array_equal(again.restore(found.test.y), found.pipeline.restore(found.test.y))


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [("california_housing", 20_640, 13), ("titanic", 891, 11), ("penguins", 344, 9), ("wine_quality", 6_497, 12)],
)
def test_tables_have_their_published_rows(loaded: Load, name: str, rows: int, columns: int) -> None:
    found = loaded(name)
    assert sum(map(len, (found.train, found.validation, found.test))) == rows
    assert found.card.input_shape == (columns,)


def whole(found: Dataset) -> tuple[np.ndarray, np.ndarray]:
    parts = (found.train, found.validation, found.test)
    return np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts])


def test_california_housing_has_the_published_statistics(loaded: Load) -> None:
    x, y = whole(loaded("california_housing"))
    assert y.mean() == pytest.approx(2.0685582, abs=1e-5)
    assert y.max() == pytest.approx(5.00001)
    assert Counter(x[:, 8:].argmax(axis=1).tolist()) == {0: 9136, 1: 6551, 2: 5, 3: 2290, 4: 2658}
    assert x[:, 7].mean() == pytest.approx(3.8706710, abs=1e-4)


def test_titanic_counts_survivors_women_and_unknown_ages(loaded: Load) -> None:
    found = loaded("titanic")
    x, y = whole(found)
    features = found.card.features or ()
    assert np.bincount(y).tolist() == [549, 342]
    assert x[:, features.index("Sex: female")].sum() == 314
    assert x[:, features.index("Age missing")].sum() == 177
    assert x[:, [features.index(f"Embarked: {port}") for port in "CQS"]].sum(axis=0).tolist() == [168, 77, 644]
    assert y[x[:, features.index("Sex: female")] == 1].mean() == pytest.approx(233 / 314)


def test_penguins_counts_species_islands_and_sexes(loaded: Load) -> None:
    x, y = whole(loaded("penguins"))
    assert np.bincount(y).tolist() == [152, 68, 124]
    assert x[:, :3].sum(axis=0).tolist() == [168, 124, 52]
    assert x[:, 7:].sum(axis=0).tolist() == [165, 168]


def test_gaps_are_filled_with_the_median_of_the_train_part_alone(loaded: Load) -> None:
    small, large = loaded("titanic", train_fraction=0.1), loaded("titanic")
    column = (large.card.features or ()).index("Age")
    for found in (small, large):
        known = found.train.x[found.train.x[:, column + 1] == 0, column]
        filled = found.test.x[found.test.x[:, column + 1] == 1, column]
        assert set(filled) == {np.float32(np.median(known))}


def test_wines_have_the_published_verdicts(loaded: Load) -> None:
    _, red = whole(loaded("wine_quality", {"wine": "red"}))
    x, both = whole(loaded("wine_quality"))
    assert Counter(red.ravel().tolist()) == {3: 10, 4: 53, 5: 681, 6: 638, 7: 199, 8: 18}
    assert x[:, -1].sum() == 4_898
    white = Counter(both[x[:, -1] == 1].ravel().tolist())
    assert white == {3: 20, 4: 163, 5: 1457, 6: 2198, 7: 880, 8: 175, 9: 5}
    assert np.bincount(whole(loaded("wine_quality", {"target": "colour"}))[1]).tolist() == [1_599, 4_898]


def test_etth1_is_split_and_scaled_as_in_the_informer_paper(loaded: Load) -> None:
    found = loaded("etth1")
    assert tuple(map(len, (found.train, found.validation, found.test))) == (8_521, 2_857, 2_857)
    plain = loaded("etth1", {"scaled": False})
    block = np.concatenate([plain.train.x[0, :, 0], plain.train.y[::24].ravel()])
    assert len(block) == 8_640
    assert block[:2].tolist() == pytest.approx([30.531, 27.787], abs=1e-3)
    mean, deviation = block.mean(dtype=np.float64), block.std(dtype=np.float64)
    assert (mean, deviation) == pytest.approx((17.1282617982271, 9.176491024944335), rel=1e-6)
    np.testing.assert_allclose(found.test.y, (plain.test.y - mean) / deviation, atol=1e-5)
    np.testing.assert_allclose(found.test.x, (plain.test.x - mean) / deviation, atol=1e-5)
    np.testing.assert_allclose(found.pipeline.restore(found.test.y), plain.test.y, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("name", "step"), [("etth1", 1), ("vlissingen_tide", 1)])
def test_what_is_forecast_follows_the_window_and_parts_do_not_overlap(loaded: Load, name: str, step: int) -> None:
    found = loaded(name, {"scaled": False, "window": 24, "horizon": 12})
    for part in (found.train, found.validation, found.test):
        assert part.when is not None
        np.testing.assert_array_equal(part.x[12:, -12:, 0], part.y[:-12])
        np.testing.assert_array_equal(part.when[1:] - part.when[:-1], step)
        assert (part.when[:, 1] - part.when[:, 0] == 11).all()
    assert found.train.when is not None
    assert found.validation.when is not None
    assert found.test.when is not None
    assert found.train.when[-1, 1] + 1 == found.validation.when[0, 0]
    assert found.validation.when[-1, 1] + 1 == found.test.when[0, 0]


def test_the_last_two_years_of_the_tide_are_the_test_part(loaded: Load, datasets_dir: Path) -> None:
    found = loaded("vlissingen_tide", {"scaled": False, "stride": 24})
    assert found.test.when is not None
    tide = SERIES[1]
    levels = tide.read(datasets_dir, None).values.ravel()  # type: ignore[attr-defined]
    assert (len(levels), levels.min(), levels.max()) == (166_560, -315, 389)
    assert found.test.when[0, 0] == (datetime(1993, 1, 1) - datetime(1976, 1, 1)).days * 24
    assert found.test.when[-1, 1] == 166_559
    table = datasets_dir / "water" / "vlissingen_hourly_1976_1994.csv"
    if table.is_file():
        with table.open() as lines:
            assert [int(row["waterlevel_cm"]) for row in csv.DictReader(lines)] == levels.tolist()


def test_spoken_digits_have_fifty_recordings_of_each_digit_by_each_speaker(loaded: Load) -> None:
    found = loaded("spoken_digits")
    assert np.bincount(whole(found)[1]).tolist() == [300] * 10
    assert np.bincount(found.test.y).tolist() == [30] * 10
    assert found.train.x.shape[1:] == (61, 40)


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_speaker_held_out_is_never_learnt_from(speaker: str, loaded: Load) -> None:
    other = SPEAKERS[SPEAKERS.index(speaker) - 1]
    known = card("spoken_digits", {"hold_out": speaker, "validate_on": other})
    assert sizes(known) == (2_000, 500, 500)
    assert sizes(card("spoken_digits", {"hold_out": speaker})) == (2_250, 250, 500)
    if speaker == "theo":
        found = loaded("spoken_digits", {"hold_out": speaker, "features": "waveform", "seconds": 0.2})
        rows = {row.tobytes() for row in found.test.x}
        assert not rows & {row.tobytes() for part in (found.train, found.validation) for row in part.x}
        everything = loaded("spoken_digits", {"features": "waveform", "seconds": 0.2})
        assert rows <= {row.tobytes() for row in whole(everything)[0]}


def test_one_speaker_cannot_be_held_out_twice() -> None:
    with pytest.raises(Invalid) as caught:
        card("spoken_digits", {"hold_out": "theo", "validate_on": "theo"})
    assert [mistake.path for mistake in caught.value.mistakes] == ["dataset.validate_on"]


def test_tiny_shakespeare_has_65_characters_and_targets_are_inputs_moved_by_one(loaded: Load) -> None:
    found = loaded("tiny_shakespeare", split=Split(1.0, 0.0))
    assert (len(ALPHABET), found.card.test) == (65, 871)
    for part in (found.train, found.test):
        np.testing.assert_array_equal(part.x[:, 1:], part.y[:, :-1])
    np.testing.assert_array_equal(found.train.x[1:, 0], found.train.y[:-1, -1])
    encoder = found.pipeline.encoder
    assert isinstance(encoder, Characters)
    assert encoder.text(found.train.x[0]).startswith("First Citizen:\nBefore we proceed any further, hear me speak.")
    assert found.test.when is not None
    assert found.test.when[0, 0] == 1_115_394 * 9 // 10
    assert found.train.when is not None
    assert found.train.when.max() < found.test.when.min()


def test_movie_reviews_learn_their_words_from_the_train_part(loaded: Load) -> None:
    found = loaded("movie_reviews")
    few = loaded("movie_reviews", train_fraction=0.01)
    assert np.bincount(whole(found)[1]).tolist() == [5_331, 5_331]
    assert tuple(map(len, (found.train, found.validation, found.test))) == (8_636, 960, 1_066)
    vocabulary = found.pipeline.to_json()[0]["vocabulary"]
    assert (len(vocabulary), vocabulary[:5]) == (10_000, ("", "[UNK]", ".", "the", ","))
    assert len(few.pipeline.to_json()[0]["vocabulary"]) < 1_000
    assert (few.test.x == 1).sum() > 3 * (found.test.x == 1).sum() > 0
    np.testing.assert_array_equal(few.test.y, found.test.y)


def test_the_part_of_cifar10_is_the_first_batch_in_its_published_order(datasets_dir: Path, loaded: Load) -> None:
    loaded("cifar10_part")
    raw: Any = datasets.read("cifar10_part", datasets_dir)
    assert raw.y[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert raw.test_y[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert np.bincount(raw.y).tolist() == [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    assert raw.x[0, 0, :3].tolist() == [[59, 62, 63], [43, 46, 45], [50, 48, 43]]
    mean = raw.x.mean(axis=(0, 1, 2), dtype=np.float64) / 255
    np.testing.assert_allclose(mean, [0.49139968, 0.48215841, 0.44653091], atol=4e-3)
    assert len(CLASSES) == 10


def test_every_data_set_says_where_it_comes_from_and_how_much_is_downloaded() -> None:
    for name, found in cards().items():
        assert found.name == name
        assert found.source
        assert found.license
        assert len(found.description) > 40
        assert found.train >= 1
