"""docs/uploads.md says what the parsers do: the same kinds, options, defaults and limits."""

import dataclasses
import re
from pathlib import Path

import pytest

from services.datasets import uploaded
from services.datasets.uploaded import KINDS, arrays, kind, limits, pictures, recordings, series, sheet, texts

PAGE = (Path(__file__).parents[3] / "docs" / "uploads.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `?(\w+)`?\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def test_the_page_has_a_section_and_a_row_for_every_kind() -> None:
    assert [name for name in SECTIONS if name in KINDS] == list(KINDS)
    assert re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE.split("## ")[0], re.M) == list(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_every_option_stands_on_the_page_with_its_default(name: str) -> None:
    table = SECTIONS[name].split("| option | default | meaning |")[1]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.M))
    fields = {field.name: field.default for field in dataclasses.fields(KINDS[name].options_type)}
    assert list(rows) == list(fields)
    for field, default in fields.items():
        if default is not None and default != ():
            assert rows[field] == f"`{str(default).lower() if isinstance(default, bool) else default}`"


@pytest.mark.parametrize("name", KINDS)
def test_every_option_is_told_in_the_docstring_that_the_reference_quotes(name: str) -> None:
    options = KINDS[name].options_type
    for field in dataclasses.fields(options):
        assert f"`{field.name}`" in (options.__doc__ or ""), field.name
    assert KINDS[name].docs.endswith((".", "continue."))


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    numbers = [
        *(f"{sheet.MAX_BYTES // 2**30} GiB", f"{sheet.MAX_COLUMNS:,} columns", f"{sheet.MAX_CELL:,} characters"),
        *(f"{series.MAX_COLUMNS} columns of numbers", f"{series.MAX_VALUES:,} numbers"),
        *(f"{texts.MAX_BYTES // 2**20} MiB", f"{arrays.MAX_ARRAY_BYTES // 2**30} GiB unpacked, .npz"),
        *(f"{limits.MAX_MEMBERS:,} files", f"{limits.MAX_MEMBER_BYTES // 2**20} MiB each"),
        *(f"{limits.MAX_UNPACKED_BYTES // 2**30} GiB unpacked, {limits.MAX_RATIO} times its size",),
        *(f"more than {limits.FREE_BYTES // 2**20} MiB", f"{pictures.MAX_PIXELS:,} pixels"),
        *(f"{recordings.MAX_FRAMES:,} samples, {recordings.MAX_CHANNELS} channels",),
        *(f"| classes | {kind.MAX_CLASSES:,} |", f"| broken files | {kind.MAX_LISTED:,} |"),
        *(f"{kind.MAX_CONTENT_BYTES // 2**30} GiB |", f"{uploaded.MAX_COMPARED_VALUES:,} numbers"),
    ]
    for number in numbers:
        assert number in SECTIONS["Limits"], number
    assert f"{texts.MAX_ALPHABET:,} different" in SECTIONS["text"]
