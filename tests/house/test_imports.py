"""The arrows between the rooms, and what a process must not import when it starts."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("numba", "llvmlite", "sklearn", "scipy", "cupy", "cuda", "polars", "PIL", "soundfile")


def imported_by(code: str) -> set[str]:
    """The top-level modules in a fresh process after some code."""
    program = f"import sys\n{code}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return set(answer.stdout.split())


def test_imports_run_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("module", ["api.main", "api.cli", "api.serve", "api.demo"])
def test_neither_api_nor_command_line_loads_the_numeric_core_when_it_starts(module: str) -> None:
    assert imported_by(f"import {module}").isdisjoint(HEAVY)


def test_the_launcher_starts_children_before_it_loads_the_record() -> None:
    assert imported_by("import api.demo").isdisjoint({"sqlalchemy", "fastapi", "celery", *HEAVY})


def test_importing_the_kernels_asks_for_no_gpu_package() -> None:
    assert imported_by("import kernels.backend").isdisjoint({"cupy", "cuda"})
