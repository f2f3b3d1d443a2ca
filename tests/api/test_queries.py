"""Options of a data set as query parameters: read as its schema has them."""

from typing import Any

import pytest

from api.queries import options_from
from services import datasets

SCHEMA: dict[str, Any] = {
    "properties": {
        "word": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "flag": {"type": "boolean"},
        "words": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "rate": {"$ref": "#/$defs/Rate"},
    },
    "$defs": {"Rate": {"enum": [8000, 16000], "type": "integer"}},
}


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ([("word", "12")], {"word": "12"}),
        ([("count", "12"), ("flag", "true")], {"count": 12, "flag": True}),
        ([("share", "null"), ("rate", "8000")], {"share": None, "rate": 8000}),
        ([("words", "a"), ("words", "b,c")], {"words": ["a", "b,c"]}),
        ([("words", "a,b")], {"words": ["a", "b"]}),
        ([("either", "7")], {"either": "7"}),
        ([("count", "many")], {"count": "many"}),
        ([("count", '{"a": 1}')], {"count": '{"a": 1}'}),
        ([("unknown", "1")], {"unknown": "1"}),
        ([], {}),
    ],
)
def test_parameters_become_what_the_schema_admits(query: list[tuple[str, str]], options: dict[str, Any]) -> None:
    assert options_from(SCHEMA, query) == options


def test_the_options_of_a_built_in_set_can_be_spelled_out() -> None:
    query = [("window", "48"), ("features", "all"), ("scaled", "false")]
    options = datasets.options("etth1", options_from(datasets.options_schema("etth1"), query))
    assert (vars(options)["window"], vars(options)["features"], vars(options)["scaled"]) == (48, "all", False)
