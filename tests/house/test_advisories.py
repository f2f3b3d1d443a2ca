"""`run.py audit`: known vulnerabilities of what is locked fail it, unless listed with a date and a reason."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [("good", "1.0"), ("bad", "2.0")]
FOUND = {"id": "PYSEC-1", "aliases": ["CVE-1"], "summary": "it leaks", "fixed_in": ["2.1"], "withdrawn": None}


@pytest.fixture
def tool() -> ModuleType:
    """.ci/audit.py as a module."""
    spec = importlib.util.spec_from_file_location("advisories", ROOT / ".ci" / "audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told(url: str) -> dict[str, Any]:
    """What an index answers: one package is bad."""
    return {"vulnerabilities": [FOUND] if "/bad/" in url else []}


def test_a_known_vulnerability_fails_unless_it_is_listed(tool: ModuleType) -> None:
    [sentence] = tool.audit(PACKAGES, set(), told, "x")
    assert sentence == "bad 2.0: PYSEC-1 (it leaks); mended in 2.1"
    for id in ("PYSEC-1", "CVE-1"):
        assert tool.audit(PACKAGES, {("bad", "2.0", id)}, told, "x") == []
    assert tool.audit(PACKAGES, {("bad", "1.9", "CVE-1")}, told, "x") != []


def test_what_was_withdrawn_is_none(tool: ModuleType) -> None:
    assert tool.audit(PACKAGES, set(), lambda _: {"vulnerabilities": [FOUND | {"withdrawn": "2026"}]}, "x") == []


def test_an_index_that_does_not_tell_is_asked_once_and_said_so(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(tool, "ask", asked.append)
    monkeypatch.setattr(tool, "index", lambda: "x")
    assert tool.main() == 0
    assert len(asked) == 1
    assert "NOTHING WAS CHECKED" in capsys.readouterr().out


def test_an_answer_without_the_field_does_not_count_as_clean(tool: ModuleType, tmp_path: Path) -> None:
    for text in ("{}", "[]", "<html>"):
        (tmp_path / "answer").write_text(text)
        assert tool.ask((tmp_path / "answer").as_uri()) is None


@pytest.mark.parametrize("line", ["bad 2.0 CVE-1", "bad 2.0 CVE-1 2026-11-23", "bad 2.0 CVE-1 soon because of that"])
def test_a_listing_needs_a_date_and_a_reason(tool: ModuleType, line: str) -> None:
    with pytest.raises(SystemExit):
        tool.accepted(line)
    assert tool.accepted("# nothing\nbad 2.0 CVE-1 2026-11-23 we never call it\n") == {("bad", "2.0", "CVE-1")}


def test_everything_locked_is_asked_about_and_the_list_is_well_formed(tool: ModuleType) -> None:
    packages = tool.locked()
    assert len(packages) > 100
    listed = tool.accepted((ROOT / ".ci" / "accepted.txt").read_text())
    assert {(name, version) for name, version, _ in listed} <= set(packages), "no longer locked: take it off the list"
