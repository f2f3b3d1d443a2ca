"""The pages of the families: jobs, pictures and error messages are those of the code, every example has its page."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from services import families
from services.documents import from_yaml

FOLDER = Path("docs/families")
PAGES = sorted(FOLDER.glob("*.md"))
EXAMPLES = sorted(Path("examples").glob("*.yaml"))
RENEW = "run: python3 run.py docs"


@pytest.fixture(scope="module")
def wanted() -> dict[Path, str]:
    """Every page and picture as the code makes it."""
    return families.files()


def test_pages_and_pictures_are_those_that_the_code_makes(wanted: dict[Path, str]) -> None:
    there = {file for file in FOLDER.iterdir() if file.suffix in (".md", ".svg")}
    assert there == wanted.keys(), RENEW
    assert [str(file) for file, text in wanted.items() if file.read_text() != text] == [], RENEW


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_is_quoted_word_for_word_by_exactly_one_page(example: Path) -> None:
    quotes = [page for page in PAGES for _ in range(page.read_text().count(f"```yaml\n{example.read_text()}```"))]
    assert len(quotes) == 1, RENEW
    text = quotes[0].read_text()
    assert f"]({example.stem}.svg)" in text
    assert f"trainyard submit examples/{example.name}" in text


def test_every_quoted_job_is_an_example() -> None:
    quoted = [found for page in PAGES for found in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
    assert Counter(quoted) == Counter(example.read_text() for example in EXAMPLES)


def test_the_index_leads_to_every_page() -> None:
    links = set(re.findall(r"\]\((\w+\.md)\)", (FOLDER / "index.md").read_text()))
    assert links == {page.name for page in PAGES} - {"index.md"}


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "index"], ids=lambda page: page.stem)
def test_every_page_tells_formula_jobs_mistakes_and_result(page: Path) -> None:
    text = page.read_text()
    for part in ("## The formula", "## Typical mistakes", "## Result", "<!-- result -->"):
        assert part in text
    assert re.search(r"<!-- (job: \w+|other jobs) -->", text)


@pytest.mark.parametrize("picture", sorted(FOLDER.glob("*.svg")), ids=lambda file: file.stem)
def test_every_picture_is_svg_and_shown(picture: Path) -> None:
    assert ElementTree.parse(picture).getroot().get("role") == "img"
    assert sum(f"]({picture.name})" in page.read_text() for page in PAGES) == 1


@pytest.mark.parametrize(
    ("job", "page"),
    [
        ("{task: reinforcement, agent: {type: dqn}, network: {layers: [dense]}}", "reinforcement"),
        ("{task: autoencoder, network: {layers: [{type: conv2d}]}}", "autoencoder"),
        ("{task: forecasting, network: {layers: [{type: lstm}]}}", "forecasting"),
        ("{task: language_model, network: {layers: [embedding, lstm]}}", "text"),
        ("{task: classification, network: {layers: [{type: embedding}, {type: gru}]}}", "text"),
        ("{task: classification, network: {layers: [{type: gru}]}}", "recurrent"),
        ("{task: classification, network: {layers: [{type: separable_conv2d}]}}", "convolution"),
        ("{task: regression, network: {layers: [{type: dense}]}}", "dense"),
    ],
)
def test_a_new_example_finds_the_page_of_its_family(job: str, page: str) -> None:
    assert families.family(from_yaml(job.encode())) == page


def test_a_page_may_not_claim_a_mistake_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- mistake: iris_mlp | training.epochs = 7 -->\n<!-- end -->\n")
    monkeypatch.setattr(families, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="nothing is wrong"):
        families.files()


def test_renewing_writes_what_is_missing_and_takes_away_what_is_stale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "page.md").write_text("# A page\n\n<!-- job: iris_mlp -->\n<!-- end -->\n")
    (tmp_path / "stale.svg").write_text("<svg/>")
    monkeypatch.setattr(families, "FOLDER", tmp_path)
    families.write()
    assert {file.name for file in tmp_path.iterdir()} == {"page.md", "iris_mlp.svg"}
    assert families.files()[tmp_path / "page.md"] == (tmp_path / "page.md").read_text()
