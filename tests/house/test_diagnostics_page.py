"""The page of the training doctor is the one that its code writes, and names every illness that can be planted."""

from __future__ import annotations

from pathlib import Path

from services.diagnose import illnesses
from services.illness_page import PAGE, diagnostics_page
from tests.services.test_planted_illnesses import PLANTED


def test_the_page_is_the_one_that_the_code_writes() -> None:
    assert Path(PAGE).read_text() == diagnostics_page(), "run: python3 run.py docs"


def test_the_planted_illnesses_are_those_of_the_page() -> None:
    text = diagnostics_page()
    assert set(PLANTED) <= set(illnesses.members)
    assert [code for code in PLANTED if f"| `{code}` |\n" not in text] == []
