"""Reports: what is wrong with data is said before anyone trains on it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.datasets import Split, card
from services.datasets.base import Card, Part, Raw
from services.datasets.report import Order, order_of, report, report_on
from services.datasets.windows import Geometry, Windows
from services.errors import Invalid, NotFound

TABLE = Card(
    "t", "", "table", ("classification",), (1,), ("no", "yes"), ("verdict",), 6, 4, "", "", "", parts="own_test"
)


def raw(train: list[float], labels: list[int], test: list[float], test_labels: list[int]) -> Raw:
    return Raw(*(np.array(values, np.float32 if k % 2 == 0 else np.int32).reshape(-1, *[1] * (k % 2 == 0))
                 for k, values in enumerate((train, labels, test, test_labels))))  # fmt: skip


def test_counts_guess_and_repetitions_are_found() -> None:
    content = raw([1, 2, 3, 3, 4, 5], [0, 0, 0, 1, 1, 0], [1, 1, 7, 8], [0, 1, 1, 1])
    found = report_on(TABLE, content, Split(1.0, 0.0))
    assert found.rows == {"train": 6, "validation": 0, "test": 4}
    assert found.classes is not None
    assert found.classes["train"] == {"no": 4, "yes": 2}
    assert found.guess == {"majority class": {"guess": "no", "accuracy": 0.25}}
    assert found.duplicates is not None
    assert (found.duplicates.train, found.duplicates.test, found.duplicates.contradictions) == (1, 2, 2)
    assert "2 of 4 test rows stand in the train part as well." in found.warnings
    assert "2 inputs come with more than one target." in found.warnings
    assert found.order is None
    json.dumps(found.to_json())


def test_gaps_and_absent_classes_are_named() -> None:
    content = raw([1, 2, np.nan, 3, 4, 5], [0] * 6, [6, 7, 8, 9], [0, 0, 1, 1])
    found = report_on(TABLE, content, Split(1.0, 0.0))
    assert found.missing == {"inputs": 1}
    assert set(found.warnings) == {
        "1 values of inputs are missing.",
        "The train part holds no 'yes'.",
    }


def test_a_part_that_begins_before_the_one_before_ends_is_a_leak() -> None:
    def part(first: int, last: int) -> Part:
        return Part(np.zeros(1), np.zeros(1), np.array([[first, last]]))

    good = {"train": part(0, 4), "validation": part(5, 6), "test": part(7, 9)}
    assert order_of(good) == Order(True, {"train": (0, 4), "validation": (5, 6), "test": (7, 9)})
    assert order_of({**good, "test": part(6, 9)}) == Order(
        False, {"train": (0, 4), "validation": (5, 6), "test": (6, 9)}
    )
    assert order_of({"train": Part(np.zeros(1), np.zeros(1))}) is None


def test_a_series_is_compared_with_forecasts_that_learn_nothing() -> None:
    season = np.tile([0.0, 1.0, 4.0, 2.0], 50).astype(np.float32)[:, np.newaxis]
    known = Card(
        "s", "", "series", ("forecasting",), (4, 1), None, ("+1", "+2"), 145, 49, "", "", "",
        parts="in_order", gap=1, season=4.0, target_feature=0,
    )  # fmt: skip
    found = report_on(known, Windows(season, Geometry(4, 4, 2, 1), 150, 150, 200, target=0, scaled=True), Split())
    assert found.guess["value 4 steps before"]["mean_squared_error"] == 0
    assert float(found.guess["persistence"]["mean_absolute_error"]) > 0.5
    assert found.order is not None
    assert found.order.in_order
    assert found.duplicates is None


@pytest.mark.parametrize(
    ("name", "guess", "duplicates"), [("iris", 1 / 3, (1, 0)), ("digits", 0.1, (0, 0)), ("breast_cancer", 0.63, (0, 0))]
)
def test_bundled_data_sets_have_a_report(name: str, guess: float, duplicates: tuple[int, int]) -> None:
    found = report(name)
    assert found.guess["majority class"]["accuracy"] == pytest.approx(guess, abs=0.01)
    assert found.duplicates is not None
    assert (found.duplicates.train, found.duplicates.test) == duplicates


def test_a_regression_is_compared_with_the_mean() -> None:
    found = report("diabetes")
    assert found.values is not None
    assert found.values["test"]["deviation"] == pytest.approx(71.23, abs=0.01)
    assert float(found.guess["mean"]["root_mean_squared_error"]) == pytest.approx(71.24, abs=0.01)


def test_the_same_rows_in_every_part_are_no_finding() -> None:
    assert report("logic_xor").duplicates is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("titanic", {"missing": {"Age": 177, "Embarked": 2}}),
        ("california_housing", {"missing": {"total_bedrooms": 207}}),
        ("wine_quality", {"rows": {"train": 4_678, "validation": 520, "test": 1_299}}),
        ("etth1", {"rows": {"train": 8_521, "validation": 2_857, "test": 2_857}}),
    ],
)
def test_built_in_files_have_a_report(name: str, expected: dict[str, Any], datasets_dir: Path) -> None:
    found = available(name, datasets_dir).to_json()
    assert {key: found[key] for key in expected} == expected
    json.dumps(found)


def available(name: str, datasets_dir: Path) -> Any:
    from services.errors import DataError

    try:
        return report(name, datasets_dir=datasets_dir)
    except DataError as error:
        if "could not be downloaded" in error.message:
            pytest.skip(f"the files of {name} are not here and cannot be downloaded")
        raise


def test_many_wines_stand_in_both_parts_and_the_tide_repeats(datasets_dir: Path) -> None:
    wine = available("wine_quality", datasets_dir)
    assert wine.duplicates.test == 333
    assert "333 of 1,299 test rows stand in the train part as well." in wine.warnings
    text = available("tiny_shakespeare", datasets_dir)
    assert text.guess["majority class"]["guess"] == " "
    assert text.guess["frequency of each character"]["nats"] == pytest.approx(3.35, abs=0.01)
    assert text.order.in_order


def test_what_cannot_be_loaded_has_no_report_either() -> None:
    with pytest.raises(NotFound):
        report("nothing")
    with pytest.raises(Invalid):
        report("iris", Split(0.9, 0.5))
    assert card("iris").classes is not None
