"""JSON and YAML as one strict model."""

import time

import pytest

from services.documents import YAML_BYTES, from_json, from_yaml
from services.errors import Invalid


def test_yaml_means_what_json_means() -> None:
    text = "a: 1e-3\nb: yes\nc: 2h\nd: 2026-01-01\ne: [1, .5, -3, 1.]\nf: null\ng: true\n'3': x\nh:\ni: 0x10\nj: 010"
    assert from_yaml(text.encode()) == {
        "a": 0.001, "b": "yes", "c": "2h", "d": "2026-01-01", "e": [1, 0.5, -3, 1.0], "f": None, "g": True, "3": "x",
        "h": None, "i": "0x10", "j": "010",
    }  # fmt: skip


def test_json_is_yaml() -> None:
    text = b'{"a": [1, 2.5, "x", null, true], "b": {"c": "\\u00e9"}}'
    assert from_yaml(text) == from_json(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x 1\nb: *x", "aliases"),
        ("a: 1\na: 2", "'a' stands there twice"),
        ("1: 2", "not text"),
        ("? [a]\n: 1", "not text"),
        ("- " * 40 + "x", "levels deep"),
        ("!!python/object/apply:os.system ['true']", "tags"),
        ("a: !!binary aGk=", "tags"),
        ("a: !!timestamp 2026-01-01", "tags"),
        ("a: [", "YAML"),
        ("a: 1\n---\nb: 2", "YAML"),
        ('a: "\\0"', "U+0000"),
        ('a: "\\ud800"', "surrogates"),
        ("a: " + "9" * 5000, "digits"),
    ],
)
def test_yaml_that_json_could_not_say_is_refused(text: str, says: str) -> None:
    with pytest.raises(Invalid, match="YAML") as caught:
        from_yaml(text.encode())
    assert says in caught.value.mistakes[0].message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "line 1"),
        (b"{'a': 1}", "column 2"),
        (b'{"a": NaN}', "NaN"),
        (b"-Infinity", "Infinity"),
        (b"1e999", "Out of range"),
        (b'{"a": 1, "a": 2}', "'a' stands there twice"),
        (b'"\\ud800"', "surrogates"),
        (b'["\\u0000"]', "U+0000"),
        (b"\xff", "utf-8"),
        (b"9" * 5000, "digits"),
    ],
)
def test_json_that_no_database_could_hold_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        from_json(text)
    assert says in caught.value.mistakes[0].message
    assert caught.value.mistakes[0].path == "body"


def test_a_backslash_before_u0000_is_only_text() -> None:
    assert from_json(b'"\\\\u0000"') == "\\u0000"


def test_a_billion_laughs_and_a_large_file_end_quickly() -> None:
    laughs = "a: &a [x]\n" + "".join(f"{n}: &{n} [*a, *a]\n" for n in "bcdefgh")
    start = time.monotonic()
    for text in (laughs, "[" * (YAML_BYTES - 1), "- x\n" * YAML_BYTES):
        with pytest.raises(Invalid):
            from_yaml(text.encode())
    assert time.monotonic() - start < 5
