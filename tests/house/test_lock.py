"""The locks: every package fixed by hash, no address anywhere, and in step with pyproject.toml and the code."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKS = {
    "requirements.lock": [],
    "requirements-dev.lock": [*EXTRAS["dev"][1:], *EXTRAS["kernelci"]],
    "requirements-cuda13.lock": EXTRAS["cuda13"],
}
PACKAGES = ("kernels", "services", "workers", "api")
MODULES = {  # what a distribution is imported as, where that is not its name
    "annotated-types": "annotated_types",
    "fastapi-offline": "fastapi_offline",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
WITH_OTHERS = {  # comes with a distribution that is declared
    "kombu": "celery",
    "redis": "celery",
    "starlette": "fastapi",
    "pydantic_core": "pydantic",
    "llvmlite": "numba",
    "cuda": "numba-cuda",
    "cupy": "cupy-cuda13x",
    "click": "typer",
    "billiard": "celery",
    "scipy": "scikit-learn",
}


def locked(name: str) -> dict[str, set[Version]]:
    """Versions by package; two where Python versions need different ones."""
    found: dict[str, set[Version]] = {}
    for package, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ \\;]+)", (ROOT / name).read_text(), re.M):
        found.setdefault(canonicalize_name(package), set()).add(Version(version))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_hashes_and_nothing_an_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.M)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 50
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("name", LOCKS)
def test_every_declared_dependency_is_locked_within_its_bounds(name: str) -> None:
    have = locked(name)
    for requirement in map(Requirement, [*PROJECT["dependencies"], *LOCKS[name]]):
        versions = have.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement.name} is not in {name}: run `python3 run.py lock`"
        assert all(version in requirement.specifier for version in versions), requirement


def test_the_locks_agree_on_every_version() -> None:
    base, dev, cuda = map(locked, LOCKS)
    for package, versions in base.items():
        assert dev[package] == versions == cuda[package], package
    assert all(cuda[package] == versions for package, versions in dev.items() if package in cuda)


def test_running_needs_no_cuda() -> None:
    assert not [package for package in locked("requirements.lock") if re.match("nvidia|cu(da|py)|numba-cuda", package)]


def test_everything_that_is_imported_is_declared_and_the_other_way_round() -> None:
    lines = [*PROJECT["dependencies"], *EXTRAS["cuda13"], *EXTRAS["kernelci"]]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    imported = third_party_imports()
    for module in imported:
        owner = next((name for name, known in MODULES.items() if known == module), WITH_OTHERS.get(module, module))
        assert canonicalize_name(owner) in declared, f"{module} is imported, but not declared"
    by_name = {"psycopg", "fastapi-offline", "numba-cuda", "cupy-cuda13x"}
    libraries = {"cuda-toolkit", "nvidia-nvjitlink", "nvidia-cuda-nvdisasm"}
    used = {WITH_OTHERS.get(module, module) for module in imported} | {*imported}
    unused = {name for name in declared if MODULES.get(name, name) not in used} - by_name - libraries
    assert not unused, f"declared, but imported nowhere: {unused}"


def third_party_imports() -> set[str]:
    """The top-level names that the four packages import from outside."""
    found: set[str] = set()
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {*PACKAGES, "__future__"}
