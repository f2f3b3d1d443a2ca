"""The texts of the house: docstrings everywhere, short files, pages that match the code, nothing foreign."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from services.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for room in ("kernels", "services", "workers", "api") for file in (ROOT / room).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LONGEST_FILE = 400
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def name(file: Path) -> str:
    """A file's path in the repository."""
    return str(file.relative_to(ROOT))


def public_definitions(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Classes, functions and methods whose name does not begin with an underscore, outside functions."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child)


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_every_file_and_every_public_name_says_what_it_is(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree), "the file has no docstring"
    silent = [f"{node.name} (line {node.lineno})" for node in public_definitions(tree) if not explained(node)]
    assert not silent


def explained(node: Definition) -> bool:
    """Has it a docstring, or is it one of several signatures of a thing that has?"""
    overloads = {"overload", "setter"}
    marks = {getattr(mark, "id", getattr(mark, "attr", "")) for mark in node.decorator_list}
    return bool(ast.get_docstring(node)) or bool(marks & overloads)


def test_no_source_file_is_too_long_to_be_one_concept() -> None:
    long = {name(file): lines for file in SOURCES if (lines := len(file.read_text().splitlines())) > LONGEST_FILE}
    assert not long


def test_nothing_is_left_to_do_later() -> None:
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    assert not [name(file) for file in SOURCES if words.search(file.read_text())]


def test_no_object_is_ever_unpickled() -> None:
    modules = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for file in SOURCES:
        tree = ast.parse(file.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert modules.isdisjoint(names), name(file)


def test_the_readme_begins_with_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.index("python3 run.py demo") < text.index("python3 run.py test")


def test_the_readme_and_run_py_know_the_same_verbs() -> None:
    verbs = set(re.findall(r"^def (\w+)\(\*?\w*.*\) -> None:\n    \"\"\"[a-z]", (ROOT / "run.py").read_text(), re.M))
    named = {verb for page in PAGES for verb in re.findall(r"python3 run\.py (\w+)", page.read_text())}
    assert named <= verbs, f"no such verb: {named - verbs}"


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for group in [project["dependencies"], *project["optional-dependencies"].values()] for line in group]
    names = {Requirement(line).name.replace("cupy-cuda13x", "cupy").replace("cupy-cuda12x", "cupy") for line in lines}
    missing = {package for package in names - {"trainyard"} if not re.search(rf"\b{re.escape(package)}\b", text)}
    assert not missing


def test_example_settings_exist() -> None:
    named = set(re.findall(r"TRAINYARD_(\w+)=", (ROOT / ".env.example").read_text()))
    of_the_client = {"API_URL", "API_KEY"}
    assert named - of_the_client <= {setting.upper() for setting in Settings.model_fields}


def test_no_registry_is_named() -> None:
    hosts = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted", "npm" + "js", "deb" + r"\.debian")), re.I)
    files = [
        *SOURCES,
        *PAGES,
        *(ROOT / "tests").rglob("*.py"),
        *ROOT.glob("*.*"),
        ROOT / "Dockerfile",
        ROOT / ".ci" / "run",
    ]
    assert not [name(file) for file in files if file.is_file() and hosts.search(file.read_text(errors="ignore"))]
