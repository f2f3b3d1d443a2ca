"""The pages of the studies: specs, tables and verdicts are those of code and runs; every kind has its page."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from services.studies import pages
from services.studies.spec import kinds

FOLDER = Path("docs/studies")
PAGES = sorted(FOLDER.glob("*.md"))
RUNS = sorted(FOLDER.glob("*.json"))
EXAMPLES = sorted(Path("examples/studies").glob("*.yaml"))
RENEW = "run: python3 run.py docs"


def test_pages_and_pictures_are_those_that_the_code_makes() -> None:
    wanted = pages.files()
    assert {file for file in FOLDER.iterdir() if file.suffix in (".md", ".svg")} == wanted.keys(), RENEW
    assert [str(file) for file, text in wanted.items() if file.read_text() != text] == [], RENEW


@pytest.mark.parametrize("kind", sorted(kinds.members))
def test_every_kind_has_a_page_with_a_real_run(kind: str) -> None:
    text = (FOLDER / f"{kind}.md").read_text()
    assert "## A run" in text
    name = re.findall(r"<!-- study: (\w+) -->", text)[0]
    result = pages.run_of(name)
    assert result is not None
    assert f"]({name}.svg)" in text
    assert result["verdict"] in text
    assert ElementTree.parse(FOLDER / f"{name}.svg").getroot().get("role") == "img"


def test_the_index_leads_to_every_page_and_names_every_kind() -> None:
    links = set(re.findall(r"\]\((\w+\.md)\)", (FOLDER / "index.md").read_text()))
    assert links == {page.name for page in PAGES} - {"index.md"}
    assert {link.removesuffix(".md") for link in links} == set(kinds.members)


def test_every_example_is_quoted_or_named_by_a_page() -> None:
    told = "".join(page.read_text() for page in PAGES)
    assert [example.name for example in EXAMPLES if f"examples/studies/{example.name}" not in told] == []


def test_every_run_belongs_to_a_quoted_example() -> None:
    assert {run.stem for run in RUNS} == set(pages.quoted(page.read_text() for page in PAGES))
