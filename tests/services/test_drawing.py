"""Pictures of networks: every layer is there and named, nothing covers anything, and no name is more than text."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.drawing import POLICY, draw, picture
from services.drawing.arrange import Box
from services.families import checked

SVG = "{http://www.w3.org/2000/svg}"
EXAMPLES = sorted(Path("examples").glob("*.yaml"))
GRAPH = """
task: classification
dataset: {name: digits}
network:
  layers:
    - {type: conv2d, filters: 16, kernel_size: 3, padding: same, activation: relu, name: stem}
    - {type: conv2d, filters: 16, kernel_size: 3, padding: same, name: beside, inputs: [stem]}
    - {type: conv2d, filters: 8, kernel_size: 1, name: narrow, inputs: [input]}
    - {type: conv2d, filters: 16, kernel_size: 5, padding: same, name: wide, inputs: [narrow]}
    - {type: add, name: sum, inputs: [beside, stem, wide]}
    - {type: global_average_pooling2d}
    - {type: dense, units: 10, activation: softmax}
training: {loss: sparse_categorical_crossentropy, optimizer: adam}
"""


def outline_of(text: str) -> dict[str, Any]:
    """The outline of a job as validate answers it."""
    return checked(text).outline


def chain(count: int, name: str = "dense", type: str = "dense") -> dict[str, Any]:
    """A row of `count` equal layers."""
    return {
        "input_shape": [8],
        "layers": [
            {"name": f"{name}_{k}", "path": f"network.layers[{k}]", "type": type, "inputs": [k - 1],
             "input_shape": [64], "output_shape": [64], "parameters": 4160, "settings": {}}
            for k in range(count)
        ],
    }  # fmt: skip


def words(svg: str) -> str:
    """All text of a picture, in its order, as one string."""
    return " ".join(ElementTree.fromstring(svg).itertext())


def drawn_lines(svg: str) -> str:
    """What is written below the glyphs, one name broken over lines being one again."""
    return "".join(text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text"))


def covers(a: Box, b: Box) -> bool:
    """Do two boxes share more than an edge?"""
    return a.left < b.right - 0.01 and b.left < a.right - 0.01 and a.top < b.bottom - 0.01 and b.top < a.bottom - 0.01


def assert_nothing_covers_anything(outline: dict[str, Any]) -> None:
    found = picture(outline)
    overlapping = [
        (a, b) for a, b in combinations(range(len(found.boxes)), 2) if covers(found.boxes[a], found.boxes[b])
    ]
    assert overlapping == []
    for box in found.boxes:
        assert box.left >= 0
        assert box.top >= 0
        assert box.right <= found.width
        assert box.bottom <= found.height
    for edge, way in found.ways.items():
        others = [box for number, box in enumerate(found.boxes) if number not in edge]
        for (x, y), (u, v) in pairwise(way.points):
            strip = Box(min(x, u), min(y, v), max(x, u), max(y, v) + 0.05, 0, 0, 0, (0, 0))
            assert not any(covers(strip, box) for box in others), f"the way {edge} runs through a box"
            assert 0 <= min(x, u) <= max(x, u) <= found.width
            assert 0 <= min(y, v) <= max(y, v) <= found.height


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_is_drawn_with_every_layer_named(example: Path) -> None:
    outline = outline_of(example.read_text())
    svg = draw(outline, example.stem)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == example.stem
    for layer in outline["layers"]:
        own, _, activation = layer["name"].partition(".")
        assert own in drawn_lines(svg)
        assert activation in drawn_lines(svg)
    assert_nothing_covers_anything(outline)


def test_the_same_outline_gives_the_same_bytes() -> None:
    assert draw(outline_of(GRAPH)) == draw(outline_of(GRAPH))


def test_branches_run_beside_each_other_and_are_told_in_words() -> None:
    outline = outline_of(GRAPH)
    assert_nothing_covers_anything(outline)
    assert len({box.axis for box in picture(outline).boxes}) > 1
    assert "sum (add): 8×8×16, from beside and stem and wide" in words(draw(outline))
    assert len(picture(outline).edges) == 9


def test_shapes_and_parameters_are_written() -> None:
    text = drawn_lines(draw(outline_of(GRAPH)))
    assert "8×8×16" in text
    assert "2,320 weights" in text
    assert "3×3" in text


def test_the_bottleneck_of_an_auto_encoder_is_narrow() -> None:
    outline = chain(3)
    for layer, units in zip(outline["layers"], (256, 2, 256), strict=True):
        layer["output_shape"] = [units]
    tall = [box.glyph[1] for box in picture(outline).boxes[1:]]
    assert tall[1] < tall[0] / 3
    assert tall[0] == tall[2]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"'&<>", "]]>", "a\x00b\x1f\ud800", "-->", "x" * 9000])
def test_hostile_names_are_only_text(name: str) -> None:
    svg = draw(chain(3, name, name), name)
    root = ElementTree.fromstring(svg.encode("utf-8"))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "desc", "style", "rect", "g", "path", "circle", "text"
    }  # fmt: skip
    assert not any(key.startswith("on") or "href" in key for element in root.iter() for key in element.attrib)
    assert len(svg) < 60_000


def test_hundreds_of_layers_stay_small_and_are_all_named() -> None:
    outline = chain(512)
    svg = draw(outline)
    assert len(svg.encode()) < 200_000
    assert_nothing_covers_anything(outline)
    assert all(f"dense_{k}:" in words(svg) for k in range(512))
    left_out = re.search(
        r"(\d+) layers$", next(item.told for item in picture(outline).items if item.layers > 1).split(",")[0]
    )
    assert left_out is not None
    assert len(picture(outline).items) - 2 + int(left_out[1]) == 512


@pytest.mark.parametrize("reach", [64, 511])
def test_hundreds_of_layers_that_all_take_each_other_stay_small(reach: int) -> None:
    outline = chain(512, "a_long_name_of_a_layer_in_a_large_graph_with_many_letters_to_it")
    for number, layer in enumerate(outline["layers"]):
        layer["inputs"] = list(range(max(-1, number - reach), number))
    assert len(draw(outline).encode()) < 200_000
    assert_nothing_covers_anything(outline)


@pytest.mark.parametrize("type", ["conv2d", "lstm", "multi_head_attention", "dropout", "embedding"])
def test_hundreds_of_large_glyphs_stay_small(type: str) -> None:
    shape = [4096, 4096, 4096] if type == "conv2d" else [4096, 4096]
    outline = chain(512, type, type)
    for number, layer in enumerate(outline["layers"]):
        layer |= {"output_shape": shape, "inputs": [-1] if number < 511 else list(range(-1, 511))}
    assert len(draw(outline).encode()) < 200_000
    assert_nothing_covers_anything(outline)


@st.composite
def graphs(draw_one: st.DrawFn) -> dict[str, Any]:
    """A network of layers that each take some earlier ones; the last one takes all that nobody takes."""
    count = draw_one(st.integers(1, 18))
    outline = chain(count)
    for number, layer in enumerate(outline["layers"]):
        layer["inputs"] = sorted(draw_one(st.sets(st.integers(-1, number - 1), min_size=1, max_size=3)))
        layer["type"] = draw_one(st.sampled_from(["dense", "conv2d", "lstm", "add", "flatten", "dropout", "relu"]))
        wide = draw_one(st.integers(1, 3))
        layer["output_shape"] = [draw_one(st.integers(1, 300)) for _ in range(3 if layer["type"] == "conv2d" else wide)]
    taken = {source for layer in outline["layers"] for source in layer["inputs"]}
    outline["layers"][-1]["inputs"] = sorted({*outline["layers"][-1]["inputs"], *range(count - 1)} - taken) or [
        count - 2
    ]
    return outline


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_in_no_graph_does_anything_cover_anything(outline: dict[str, Any]) -> None:
    assert_nothing_covers_anything(outline)
    ElementTree.fromstring(draw(outline))


def test_the_policy_allows_the_style_of_the_picture_and_nothing_else() -> None:
    style = ElementTree.fromstring(draw(chain(1))).findtext(f"{SVG}style") or ""
    sha = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert POLICY.startswith(f"default-src 'none'; style-src 'sha256-{sha}';")
    assert "unsafe" not in POLICY
    assert "style=" not in draw(outline_of(GRAPH))
    assert "prefers-color-scheme:dark" in style


def test_an_outline_without_layers_is_no_picture() -> None:
    with pytest.raises(ValueError, match="no layers"):
        draw({"parameters": 67})
