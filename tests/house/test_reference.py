"""The reference pages name everything there is, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.settings import Settings
from services.spec import catalog

DOCS = Path("docs")


@pytest.mark.parametrize(
    "kind", ["layers", "activations", "losses", "optimizers", "learning_rate_schedules", "noises", "metrics"]
)
def test_the_job_page_names_every_member(kind: str) -> None:
    page = (DOCS / "job_spec.md").read_text()
    missing = [member["type"] for member in catalog()[kind] if f"`{member['type']}`" not in page]
    assert missing == []


def test_the_job_page_names_every_data_set() -> None:
    page = (DOCS / "job_spec.md").read_text()
    assert [card["name"] for card in catalog()["datasets"] if f"`{card['name']}`" not in page] == []


def test_the_settings_page_lists_every_setting_with_its_description() -> None:
    page = (DOCS / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`TRAINYARD_{name.upper()}`" in page
        assert str(field.description) in page


def test_the_http_page_lists_exactly_the_routes_there_are(tmp_path: Path) -> None:
    from api.main import create_app

    app = create_app(Settings(data_dir=tmp_path))
    there = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    told = set(re.findall(r"^\| `((?:GET|POST|PUT|DELETE) [^`]+)`", (DOCS / "http.md").read_text(), re.MULTILINE))
    assert told == there


@pytest.mark.parametrize("page", ["README.md", *sorted(str(p) for p in DOCS.rglob("*.md"))])
def test_links_and_named_files_lead_somewhere(page: str) -> None:
    text, folder = Path(page).read_text(), Path(page).parent
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    files = re.findall(r"`((?:examples|docs|tests|kernels|services|workers|api|benchmarks)/[\w/.-]+\.\w+)`", text)
    assert [link for link in links if not (folder / link).exists()] == []
    assert [file for file in files if not Path(file).exists()] == []


def test_the_job_page_is_the_one_that_the_code_writes() -> None:
    from services.reference import job_spec_page

    assert (DOCS / "job_spec.md").read_text() == job_spec_page(), "run: python3 run.py docs"
