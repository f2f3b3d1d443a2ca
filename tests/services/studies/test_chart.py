"""The picture of a study: sound SVG, the same bytes for the same result, and nothing but itself."""

import math
from typing import Any
from xml.etree import ElementTree

import pytest

from services.studies.chart import STYLE, Scale, draw
from services.studies.kind import Conclusion, Line, Panel, Span


def result(*lines: Line, **more: Any) -> dict[str, Any]:
    return Conclusion("Because.", "clear", [], [], [Panel("A & B", "x", "y", lines, **more)]).to_json()


def test_a_picture_is_svg_with_a_title_its_lines_and_its_verdict() -> None:
    drawn = draw(result(Line("a<b", [(1, 1), (2, 3)]), spans=[Span(1, 2, "good")]), "mine & yours")
    root = ElementTree.fromstring(drawn)
    assert root.findtext("{*}title") == "mine & yours"
    assert root.findtext("{*}desc") == "Because."
    names = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert {"a<b", "good"} <= set(names)
    assert "script" not in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme:dark" in STYLE


def test_the_same_result_gives_the_same_bytes() -> None:
    one = result(Line("a", [(1, 1, 0.5, 1.5), (2, 3, 2, 4)]))
    assert draw(one, "t") == draw(one, "t")


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1.0, 1.0)],
        [(1.0, 5.0), (2.0, 5.0)],
        [(0.0, -1.0), (1.0, math.inf), (2.0, 3.0)],
        [(1.0, None), (2.0, math.nan), (3.0, 1e-12)],
        [(1e-5, 1e5, None, None), (10.0, 1e-5, 1e-6, 1e9)],
    ],
)
def test_no_point_leads_out_of_the_picture(points: Any, log: bool) -> None:
    root = ElementTree.fromstring(draw(result(Line("a", points), log_x=log, log_y=log), "t"))
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.get("cx", "-1")) <= 440
        assert 0 <= float(circle.get("cy", "-1")) <= 280


def test_a_logarithmic_scale_puts_decades_at_equal_distances() -> None:
    scale = Scale(1, 1000, 0, 300, True)
    assert [round(scale(v)) for v in (1, 10, 100, 1000)] == [0, 100, 200, 300]
    assert scale.ticks() == [1, 10, 100, 1000]
    assert Scale(0, 10, 0, 1, False).ticks() == [0, 2, 4, 6, 8, 10]
