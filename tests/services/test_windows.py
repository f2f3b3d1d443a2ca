"""Windows over a series: what is seen, what comes next, and nothing of the future on the wrong side of a border."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.datasets import Split
from services.datasets.base import Card
from services.datasets.splits import Sizes
from services.datasets.windows import Geometry, Windows, fits, naive_forecast
from services.errors import Invalid

SERIES = np.arange(40, dtype=np.float32).reshape(20, 2)
CARD = Card("s", "", "series", ("forecasting",), (3, 2), None, ("a", "b"), 0, 0, "", "", "", parts="in_order")


def test_a_row_is_a_window_and_what_follows_it() -> None:
    dealt = Windows(SERIES, Geometry(3, 3, 2, 1), 12, 12, 20, target=1).deal(CARD, Split(), Sizes(5, 2, 7))
    assert dealt.test.x[0].tolist() == SERIES[9:12].tolist()
    assert dealt.test.y[0].tolist() == SERIES[12:14, 1].tolist()
    assert dealt.test.y[-1].tolist() == SERIES[18:20, 1].tolist()
    assert [part.when.tolist()[0] for part in (dealt.train, dealt.validation, dealt.test)] == [
        [3, 4],
        [9, 10],
        [12, 13],
    ]
    assert dealt.validation.when.tolist()[-1] == [10, 11]


def test_text_moves_on_by_one() -> None:
    dealt = Windows(np.arange(20), Geometry(4, 1, 4, 4), 12, 12, 20, test_stride=4).deal(CARD, Split(), Sizes(2, 0, 2))
    assert dealt.train.x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert dealt.train.y.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert dealt.test.x.tolist() == [[11, 12, 13, 14], [15, 16, 17, 18]]
    assert dealt.test.y.tolist() == [[12, 13, 14, 15], [16, 17, 18, 19]]


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 8), st.integers(1, 9)),
    st.tuples(st.integers(25, 60), st.integers(1, 30)),
    st.tuples(st.floats(0, 0.5), st.floats(0.05, 1)),
    st.booleans(),
)
def test_no_target_of_a_part_reaches_into_the_next(
    shape: tuple[int, int, int], ends: tuple[int, int], shares: tuple[float, float], text: bool
) -> None:
    window, horizon, stride = shape
    geometry = Geometry(window, 1 if text else window, window if text else horizon, stride)
    end, total = ends[0], sum(ends)
    windows = Windows(np.arange(total), geometry, end, end, total)
    rows, test = geometry.count(0, end), geometry.count(end, total, 1)
    assert rows == len(geometry.starts(0, end))
    validation = int(rows * shares[0])
    room = rows - validation - (geometry.gap if validation else 0)
    assume(room >= 1 and test >= 1)
    counts = Sizes(max(1, int(room * shares[1])), validation, test)
    dealt = windows.deal(CARD, Split(), counts)
    parts = [part for part in (dealt.train, dealt.validation, dealt.test) if len(part)]
    assert (len(dealt.train), len(dealt.validation), len(dealt.test)) == counts
    for earlier, later in pairwise(parts):
        assert earlier.when.max() < later.when.min()
    for part in parts:
        np.testing.assert_array_equal(part.y[:, 0], part.when[:, 0])
        np.testing.assert_array_equal(part.y[:, -1], part.when[:, 1])
        np.testing.assert_array_equal(part.x[:, 0], part.when[:, 0] - geometry.shift)
    assert dealt.test.when.max() < total
    assert dealt.test.when.min() >= end


def test_scaling_knows_the_train_part_alone() -> None:
    rng = np.random.default_rng(1)
    series = rng.normal(5, 3, (100, 2)).astype(np.float32)
    other = series.copy()
    other[65:] += 100
    geometry, counts = Geometry(4, 4, 2, 1), Sizes(50, 4, 29)
    found, changed = (
        Windows(values, geometry, 70, 70, 100, 0, scaled=True).deal(CARD, Split(), counts) for values in (series, other)
    )
    assert found.steps == changed.steps
    assert found.targets == changed.targets
    seen = series[found.train.when[0, 0] - 4 : found.train.when[-1, 1] + 1]
    assert found.targets is not None
    assert found.train.when[-1, 1] + 1 == found.validation.when[0, 0] == 65
    np.testing.assert_allclose(found.targets.mean, seen[:, 0].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.targets.variance, seen[:, 0].var(), rtol=1e-6)


def test_a_smaller_train_part_is_the_latest_of_the_larger() -> None:
    windows = Windows(np.arange(50), Geometry(4, 4, 1, 1), 40, 40, 50)
    many, few = (windows.deal(CARD, Split(), Sizes(n, 3, 10)).train for n in (33, 5))
    np.testing.assert_array_equal(few.x, many.x[-5:])


def test_rows_that_are_too_long_or_too_many_are_refused() -> None:
    with pytest.raises(Invalid, match="too short for rows of 3 and 2 steps"):
        fits(Geometry(3, 3, 2, 1), CARD)
    many = Card("s", "", "series", (), (1,), None, (), 10**8, 1, "", "", "")
    with pytest.raises(Invalid, match="more than 536,870,912"):
        fits(Geometry(3, 3, 3, 1), many)


@pytest.mark.parametrize(("season", "window"), [(None, 1), (4.0, 4), (4.0, 9), (12.42, 30), (2.5, 3)])
def test_a_naive_forecast_is_exact_where_the_series_repeats(season: float | None, window: int) -> None:
    steps = np.arange(window + 10)
    # Straight between the corners of a triangle, so that interpolating is exact but at the corners themselves.
    series = np.full(len(steps), 3.0) if season is None else steps % season if season == int(season) else 0.5 * steps
    found = naive_forecast(series[np.newaxis, :window], 10, season)
    assert found.shape == (1, 10)
    if season is None or season == int(season):
        np.testing.assert_allclose(found[0], series[window:])
    else:
        ahead = np.arange(1, 11)
        np.testing.assert_allclose(found[0], 0.5 * (window - 1 + ahead - season * np.ceil(ahead / season)))


def test_a_window_shorter_than_a_season_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter than a season of 12\.42"):
        naive_forecast(np.zeros((1, 12)), 1, 12.42)
