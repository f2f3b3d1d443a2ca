"""Uploaded series: time axes, gaps and windows by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services import datasets
from services.datasets.options import parse
from services.datasets.splits import Split
from services.datasets.uploaded import recognise, source, survey
from services.datasets.uploaded.series import Series
from services.errors import DataError, Invalid


def hours(count: int, skip: tuple[int, ...] = (), header: str = "time,load,temperature") -> str:
    rows = [f"2024-01-{1 + k // 24:02d} {k % 24:02d}:00,{k},{k * 0.5}" for k in range(count) if k not in skip]
    return "\n".join([header, *rows]) + "\n"


def opened(folder: Path, text: str) -> Series:
    file = folder / "upload"
    file.write_text(text, encoding="utf-8")
    made = source("s", "series", survey(file, "series").facts, file)
    assert isinstance(made, Series)
    return made


def options(**values: Any) -> Any:
    return parse(Series.options_type, values)


def test_windows_follow_each_other_in_time_and_the_last_fifth_is_the_test_part(tmp_path: Path) -> None:
    made = opened(tmp_path, hours(100))
    chosen = options(window=4, horizon=2, scaled=False, covariates=["load"])
    card = made.card_for(chosen)
    assert card.input_shape == (4, 2)
    assert card.features == ("temperature", "load")
    assert card.target_names == ("temperature +1 h", "temperature +2 h")
    assert card.season == 24
    # Targets of the train part end before step 80: rows begin at 0 … 74.
    assert (card.train, card.test, card.gap) == (75, 19, 1)
    dealt = made.read(tmp_path, None, chosen).deal(card, Split(), datasets.sizes(card, Split()))
    assert dealt.train.x[0].tolist() == [[0, 0], [0.5, 1], [1, 2], [1.5, 3]]
    assert dealt.train.y[0].tolist() == [2, 2.5]
    assert dealt.test.y[0].tolist() == [40, 40.5]
    assert dealt.train.when is not None
    assert dealt.test.when is not None
    assert dealt.train.when.max() < 80 <= dealt.test.when.min()


@pytest.mark.parametrize(
    ("times", "step", "season"),
    [
        (["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"], {"count": 1, "unit": "d"}, 7),
        (["1949-10", "1949-11", "1949-12", "1950-01"], {"count": 1, "unit": "months"}, 12),
        (["2020-01-01", "2020-04-01", "2020-07-01", "2020-10-01"], {"count": 3, "unit": "months"}, 4),
        (["2024-01-01T00:00Z", "2024-01-01T00:15Z", "2024-01-01T01:30+01:00", "2024-01-01T00:45Z"], "15 min", 96),
        (["1700", "1701", "1702", "1703"], {"count": 1, "unit": "steps"}, None),
    ],
)
def test_steps_may_be_minutes_days_months_or_numbers(tmp_path: Path, times: list[str], step: Any, season: Any) -> None:
    more = "".join(f"{time},{k % 3}\n" for k, time in enumerate(times))
    facts = opened_facts(tmp_path, f"time,v\n{more}")
    assert facts["step"] == ({"count": 15, "unit": "min"} if step == "15 min" else step)
    assert (facts["season"], facts["steps"]) == (season, 4)


def opened_facts(folder: Path, text: str) -> dict[str, Any]:
    (folder / "upload").write_text(text, encoding="utf-8")
    return dict(Series.survey(folder / "upload").facts)


def test_gaps_are_reported_and_refused_unless_they_are_to_be_filled(tmp_path: Path) -> None:
    made = opened(tmp_path, hours(100, skip=(10, 11, 50)).replace(",30,15.0", ",30,"))
    with pytest.raises(Invalid) as refused:
        made.card_for(options(window=4))
    assert refused.value.mistakes[0].path == "dataset.gaps"
    assert "'temperature' lacks 4 values, the first at or after line 11" in refused.value.mistakes[0].message
    with pytest.raises(Invalid, match="2 values in a row at or after line 11"):
        made.card_for(options(window=4, gaps="interpolate", longest_gap=1))
    content = made.read(tmp_path, None, options(window=4, gaps="interpolate"))
    np.testing.assert_allclose(next(iter(content.arrays()))[:, 0], np.arange(100) * 0.5)
    report = survey(tmp_path / "upload", "series").report
    assert report["missing"] == {"load": 3, "temperature": 4}
    assert "3 steps have no row." in report["warnings"]
    assert made.card.train > 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n", "Line 4 has the same time"),
        ("2024-01-01,1\n2024-01-03,2\n2024-01-02,3\n", "Line 4 lies before"),
        ("2024-01-01,1\n2024-01-02,2\n2024-01-03 07:00,3\n2024-01-04,3\n2024-01-05,3\n", "Line 4 is out of step"),
        ("2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n2034-01-03,3\n", "most are missing"),
        ("2024-01-01,1\n2024-01-02,2\n2024-02-30,3\n", "no column of times"),
        ("2024-01-01,a\n2024-01-02,b\n2024-01-03,c\n", "0 columns of numbers"),
        ("2024-01-01,1\n,2\n2024-01-03,3\n", "Line 3 has no good time"),
        ("2024-01-01,1\n2024-01-02,2\n", "has 2 rows"),
    ],
)
def test_what_is_no_regular_series_is_refused_with_the_line(tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "upload").write_text("time,v\n" + rows, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        survey(tmp_path / "upload", "series")


def test_a_regular_table_is_taken_for_a_series_and_another_is_not(tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_text(hours(50), encoding="utf-8")
    assert recognise(file) == "series"
    file.write_text("born,height\n1999-01-05,1.7\n1980-03-01,1.8\n2001-01-01,1.6\n", encoding="utf-8")
    assert recognise(file) == "table"


def test_unknown_and_repeated_columns_are_named_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        opened(tmp_path, hours(60)).card_for(options(target="lod", covariates=["load", "load", "wind"]))
    assert [m.path for m in refused.value.mistakes] == [
        *("dataset.target", "dataset.covariates[1]", "dataset.covariates[2]")
    ]
    assert "Did you mean 'load'?" in (refused.value.mistakes[0].hint or "")
