"""Uploaded tables: types, gaps, categories and dates by hand; numbers and texts as polars wrote them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.datasets.base import Source
from services.datasets.options import parse
from services.datasets.preprocessing import Pipeline
from services.datasets.splits import Split
from services.datasets.uploaded import Survey, source, survey
from services.errors import DataError, Invalid

SHIPS = """\
name,built,kind,length,steam,docked,price
Ada,1990,tug,30.5,yes,2024-02-29,10
Bo,1991,tug,,no,2024-03-01,20
Cy,1992,ferry,80,no,,30
Di,1993,ferry,NA,yes,2023-12-31,
Ed,1994,,100,no,2024-01-01,50
Flo,1995,barge,60,yes,2024-01-01,60.5
"""


def saved(folder: Path, text: str | bytes) -> Path:
    file = folder / "upload"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def surveyed(folder: Path, text: str | bytes) -> Survey:
    found = survey(saved(folder, text), "table")
    assert json.loads(json.dumps(found.facts)) == found.facts
    json.dumps([found.report, found.samples], allow_nan=False)
    return found


def opened(folder: Path, text: str | bytes) -> Source:
    found = surveyed(folder, text)
    return source("ships", "table", json.loads(json.dumps(found.facts)), folder / "upload")


def content(made: Source, **values: Any) -> Any:
    return made.read(Path(), None, parse(made.options_type, values))


def card(made: Source, **values: Any) -> Any:
    return made.card_for(parse(made.options_type, values))


def test_types_gaps_and_values_are_recognised(tmp_path: Path) -> None:
    found = surveyed(tmp_path, SHIPS)
    columns = {column["name"]: column for column in found.report["columns"]}
    assert {name: column["type"] for name, column in columns.items()} == {
        "name": "category",
        "built": "number",
        "kind": "category",
        "length": "number",
        "steam": "bool",
        "docked": "date",
        "price": "number",
    }
    assert found.report["missing"] == {"length": 2, "kind": 1, "docked": 1, "price": 1}
    assert columns["kind"]["values"] == {"ferry": 2, "tug": 2, "barge": 1}
    assert (columns["length"]["min"], columns["length"]["max"], columns["length"]["mean"]) == (30.5, 100, 67.625)
    assert columns["length"]["deviation"] == pytest.approx(np.std([30.5, 80, 100, 60]))
    assert (found.report["target"], found.report["task"]) == ("price", "regression")


def test_rows_are_the_numbers_that_the_cells_say(tmp_path: Path) -> None:
    made = opened(tmp_path, SHIPS)
    options = {"features": ["kind", "length", "steam", "docked"]}
    assert card(made, **options).features == (
        *("kind: barge", "kind: ferry", "kind: tug", "length", "steam: no", "steam: yes"),
        *("docked: year", "docked: month", "docked: day", "docked: weekday"),
    )
    raw = content(made, **options)
    assert raw.y.tolist() == [[10], [20], [30], [50], [60.5]]
    encoder = raw.encoder.fit(raw.x[:1])
    rows = encoder.encode(raw.x)
    assert rows[0].tolist() == [0, 0, 1, 30.5, 0, 1, 2024, 2, 29, 3]
    assert rows[1].tolist() == [0, 0, 1, 30.5, 1, 0, 2024, 3, 1, 4]
    assert rows[2].tolist() == [0, 1, 0, 80, 1, 0, 2024, 2, 29, 3]
    assert rows[3].tolist() == [0, 0, 0, 100, 1, 0, 2024, 1, 1, 0]


def test_gaps_are_filled_with_what_the_train_part_alone_says(tmp_path: Path) -> None:
    made = opened(tmp_path, SHIPS)
    raw = content(made, features=["length"])
    assert raw.encoder.fit(raw.x).columns[0].fill == 70
    mean = content(made, features=["length"], missing="mean")
    assert mean.encoder.fit(mean.x[1:]).columns[0].fill == pytest.approx(80)
    assert mean.encoder.fit(mean.x).columns[0].fill == pytest.approx((30.5 + 80 + 100 + 60) / 4)


def test_rows_with_gaps_are_dropped_or_refused_as_told_and_counted_beforehand(tmp_path: Path) -> None:
    made = opened(tmp_path, SHIPS)
    assert card(made).train + card(made).test == 5
    dropped = card(made, missing="drop", features=["length", "kind"])
    assert dropped.train + dropped.test == 3
    assert content(made, missing="drop", features=["length", "kind"]).y.tolist() == [[10], [30], [60.5]]
    with pytest.raises(Invalid, match="'length' lacks 2 values") as refused:
        card(made, missing="error", features=["length"])
    assert refused.value.mistakes[0].path == "dataset.missing"
    assert card(made, missing="error", features=["built"]).train == 4


def test_the_target_says_whether_classes_or_values_are_predicted(tmp_path: Path) -> None:
    made = opened(tmp_path, "a,b,c,d\n1.5,x,1,2\n2.5,y,2,1\n0.5,x,3,1\n7,y,2,10\n")
    assert card(made).tasks == ("classification",)
    assert card(made).classes == ("1", "2", "10")
    assert content(made).y.tolist() == [1, 0, 0, 2]
    assert card(made, task="regression").classes is None
    assert content(made, task="regression").y.tolist() == [[2], [1], [1], [10]]
    assert card(made, target="b").classes == ("x", "y")
    assert card(made, target="a").tasks == ("regression",)
    with pytest.raises(Invalid, match="'b' holds no numbers"):
        card(made, target="b", task="regression")
    with pytest.raises(Invalid, match="more than whole numbers"):
        card(made, target="a", task="classification")


def test_rare_categories_share_one_input(tmp_path: Path) -> None:
    made = opened(tmp_path, "k,y\n" + "a,1\n" * 4 + "b,2\n" * 3 + "c,3\n" * 2 + ",4\nd,1\n")
    chosen = card(made, categories=3)
    assert chosen.features == ("k: a", "k: b", "k: other")
    raw = content(made, categories=3)
    rows = raw.encoder.encode(raw.x)
    assert rows[[0, 4, 7, 9, 10]].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
    asked = raw.encoder.rows([{"k": "never seen"}, {"k": "b"}, {}])
    assert raw.encoder.encode(asked).tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_row_numbers_constants_and_texts_are_no_inputs_unless_named(tmp_path: Path) -> None:
    lines = [f"{k},same,person {k} of many words,{k % 3},{k * 0.5}\n" for k in range(40)]
    made = opened(tmp_path, ",always,who,group,size\n" + "".join(lines))
    assert card(made).features == ("group",)
    assert card(made, features=["column 1", "group"]).features == ("column 1", "group")
    with pytest.raises(Invalid) as refused:
        card(made, features=["who", "size", "grup"])
    assert [mistake.path for mistake in refused.value.mistakes] == [f"dataset.features[{k}]" for k in range(3)]
    assert "Did you mean 'group'?" in (refused.value.mistakes[2].hint or "")


def test_semicolons_and_decimal_commas_are_read_as_europe_writes_them(tmp_path: Path) -> None:
    raw = content(opened(tmp_path, "länge;art\n1;a\n1,5;b\n-2,25;a\n.5;b\n".replace(".5", "0,5")))
    assert raw.x["länge"].tolist() == [1, 1.5, -2.25, 0.5]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("02.01.1970", 86_400),
        ("1970/01/02", 86_400),
        ("1970-02", 31 * 86_400),
        ("1970-01-01 01:02", 3_720),
        ("1970-01-01T01:02:03.5", 3_723.5),
        ("1970-01-01T01:00+01:00", 0),
        ("1969-12-31T23:30:00-0130", 3_600),
        ("2000-02-29T00:00:00Z", 951_782_400),
    ],
)
def test_dates_are_seconds_since_1970(tmp_path: Path, written: str, seconds: float) -> None:
    raw = content(opened(tmp_path, f"t,y\n{written},a\n{written},b\n,b\n"), features=["t"])
    assert raw.x["t"][:2].tolist() == [seconds, seconds]
    assert np.isnan(raw.x["t"][2])


def test_a_day_that_no_calendar_has_is_a_category_and_no_date(tmp_path: Path) -> None:
    assert surveyed(tmp_path, "t,y\n2023-02-29,1\n2023-02-28,2\n").report["columns"][0]["type"] == "category"


def test_requests_give_dates_and_truths_as_json_has_them(tmp_path: Path) -> None:
    raw = content(opened(tmp_path, "t,b,y\n2024-05-01T06:00:00,true,1\n2024-05-02T00:00:00,false,2\n"))
    encoder = raw.encoder.fit(raw.x)
    asked = encoder.rows([{"t": "2024-05-01T06:00:00", "b": True}, ["2024-05-02", "false"]])
    np.testing.assert_array_equal(encoder.encode(asked), encoder.encode(raw.x))
    with pytest.raises(Invalid, match=r"inputs\[0\].t: a date such as"):
        encoder.rows([{"t": "yesterday"}])
    restored = Pipeline.from_json(json.loads(json.dumps(Pipeline((), encoder).to_json())))
    assert restored.encoder == encoder


def test_repeated_rows_are_counted_in_the_file_and_across_the_parts(tmp_path: Path) -> None:
    text = "a,b,y\n" + "".join(f"{k % 10},{k % 10},{k % 2}\n" for k in range(100))
    report = surveyed(tmp_path, text).report
    assert report["duplicates"] == 90
    assert report["classes"] == {"0": 50, "1": 50}
    assert report["majority"] == {"class": "0", "accuracy": 0.5}
    assert report["split"]["duplicates"]["test"] == 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3\n", "Line 3 has 1 cells instead of 2"),
        ("a,b\n1,2\n3,4,5\n", "Line 3 has 3 cells instead of 2"),
        ("a,b\n1,2\n\n3,4\n", "Line 3 is empty"),
        ('a,b\n1,"2\n3,4\n', "Line 3 is no row of a table"),
        ("a,b\n1,2\n3,inf\n", "Line 3 has 'inf' in 'b', which is not finite"),
        ("a,b\n1,2\n3,1e39\n", "Line 3 has '1e39' in 'b', which is too large"),
        ("a\n1\n2\n", "only one column"),
        ("1,2\n3,4\n", "numbers, not the names"),
        ("a,a\n3,4\n", "names 'a' twice"),
        ("a,b\n", "a header and no rows"),
        ("", "empty"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n1,\xff\n", "not UTF-8"),
        (b"a,b\n1,\0\n", "binary"),
        ("a,b\n1,x\x07\n2,y\n", "control characters"),
        ("a,b\nx,same\ny,same\n", "No column"),
    ],
)
def test_what_is_no_table_is_refused_with_the_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    if said.startswith("No column"):
        text = "a,b\nsame,same\nsame,same\n"
    with pytest.raises(DataError, match=said):
        survey(saved(tmp_path, text), "table")


def test_another_file_than_the_surveyed_one_is_refused(tmp_path: Path) -> None:
    made = opened(tmp_path, SHIPS)
    saved(tmp_path, SHIPS + "Gil,1996,tug,1,no,2024-01-01,7\n")
    with pytest.raises(DataError, match="not the one that was surveyed"):
        content(made)


CELLS = st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda x: round(x, 6)))
WORDS = st.one_of(
    st.none(), st.sampled_from(["plain", "with, comma", 'a "quote"', "two\nlines", "ünïcode ✓", "; tab\t!"])
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, WORDS), min_size=2, max_size=40))
def test_whatever_polars_writes_is_read_back(tmp_path: Path, rows: list[tuple[float | None, str | None]]) -> None:
    values, texts = [row[0] for row in rows], [row[1] for row in rows]
    y = [k % 2 for k in range(len(rows))]
    frame = pl.DataFrame({"v": pl.Series(values, dtype=pl.Float64), "w": pl.Series(texts, dtype=pl.String), "y": y})
    frame.write_csv(tmp_path / "upload")
    if not set(values) - {None} or not set(texts) - {None}:
        return
    facts = survey(tmp_path / "upload", "table").facts
    made = source("t", "table", facts, tmp_path / "upload")
    raw = content(made, features=["v", "w"])
    np.testing.assert_array_equal(raw.x["v"], np.array([np.nan if v is None else v for v in values]))
    known = raw.encoder.columns[1].categories
    assert [None if k < 0 else known[k] for k in raw.x["w"]] == texts


def test_the_default_card_and_its_content_deal_out_as_promised(tmp_path: Path) -> None:
    made = opened(tmp_path, "a,y\n" + "".join(f"{k / 7},{'uv'[k % 2]}\n" for k in range(50)))
    from services import datasets

    counts = datasets.sizes(made.card, Split())
    dealt = content(made).deal(made.card, Split(), counts)
    assert (len(dealt.train), len(dealt.validation), len(dealt.test)) == tuple(counts) == (36, 4, 10)
    assert isinstance(dealt.train.x["a"], np.ndarray)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, WORDS, st.sampled_from(["", "1", "2", "3"])), min_size=4, max_size=30),
    missing=st.sampled_from(["median", "mean", "drop", "error"]),
    target=st.sampled_from(["v", "w", "k", None]),
    categories=st.integers(2, 6),
)
def test_what_a_card_promises_from_facts_alone_is_what_is_read(
    tmp_path: Path, rows: list[tuple[Any, Any, str]], missing: str, target: str | None, categories: int
) -> None:
    frame = pl.DataFrame(rows, schema={"v": pl.Float64, "w": pl.String, "k": pl.String}, orient="row")
    frame.write_csv(tmp_path / "upload")
    try:
        facts = json.loads(json.dumps(survey(tmp_path / "upload", "table").facts))
        made = source("t", "table", facts, None)
        chosen = {"missing": missing, "target": target, "categories": categories}
        promised = card(made, **chosen)
    except (DataError, Invalid):
        return
    raw = content(
        source("t", "table", facts, tmp_path / "upload"), missing=missing, target=target, categories=categories
    )
    assert len(raw.x) == len(raw.y) == promised.train + promised.test
    encoded = raw.encoder.fit(raw.x).encode(raw.x)
    assert encoded.shape == (len(raw.x), *promised.input_shape)
    assert np.isfinite(encoded).all()
    if promised.classes is not None:
        assert set(raw.y.tolist()) <= set(range(len(promised.classes)))
    if missing in {"drop", "error"}:
        assert not any((raw.x[c.name] == -1).any() if c.dtype == "<U256" else np.isnan(raw.x[c.name]).any()
                       for c in raw.encoder.columns)  # fmt: skip
