"""run.py: one standard-library file that sets a clone up and says clearly what is missing."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
VERBS = ["demo", "test", "serve", "lint", "audit", "chaos", "bench", "gpu", "docs", "lock"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """run.py as a module whose repository is an empty folder and whose commands are written down instead of run."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    places = {"ROOT": tmp_path, "VENV": venv, "PYTHON": venv / "bin" / "python", "TOOLS": tmp_path / ".tools"}
    for name, value in {**places, "STAMP": venv / "trainyard.json"}.items():
        monkeypatch.setattr(module, name, value)
    for name in ("pyproject.toml", *module.EXTRAS):
        (tmp_path / name).write_text(name)
    return module


@pytest.fixture
def commands(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that an installation would run; making .venv makes one."""
    said: list[str] = []

    def command(*words: str, env: dict[str, str] | None = None) -> None:
        said.append(" ".join(words[1:]))
        if "venv" in words:
            run.PYTHON.parent.mkdir(parents=True)
            run.PYTHON.touch()

    monkeypatch.setattr(run, "command", command)
    monkeypatch.setattr(run, "find_uv", lambda: "uv")
    return said


def start(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """run.py as a process, with nothing but these variables."""
    command = [sys.executable, str(ROOT / "run.py"), *words]
    return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)


def test_it_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse((ROOT / "run.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_older_python_can_still_read_it() -> None:
    ast.parse((ROOT / "run.py").read_text(), feature_version=(3, 7))


def test_alone_it_lists_its_verbs_with_a_line_each() -> None:
    answer = start()
    assert answer.returncode == 0
    lines = [line.split(maxsplit=1) for line in answer.stdout.splitlines()[2:]]
    assert [verb for verb, _ in lines] == VERBS
    assert all(sentence for _, sentence in lines)


def test_an_unknown_verb_gets_the_known_ones() -> None:
    answer = start("dmeo")
    assert answer.returncode == 2
    assert "'dmeo'" in answer.stderr
    assert ", ".join(VERBS) in answer.stderr


def test_a_first_run_installs_from_the_hash_lock_and_a_second_one_does_nothing(
    run: ModuleType, commands: list[str]
) -> None:
    run.ensure(run.RUNTIME)
    assert [line.partition(" --python")[0] for line in commands] == [
        "venv --quiet --clear",
        "pip install",
        "pip install",
    ]
    assert "--require-hashes -r requirements.lock" in commands[1]
    assert "--no-deps -e ." in commands[2]
    commands.clear()
    run.ensure(run.RUNTIME)
    assert commands == []


def test_only_a_lock_that_changed_is_installed_again(run: ModuleType, commands: list[str]) -> None:
    run.ensure(run.RUNTIME, run.DEV)
    commands.clear()
    (run.ROOT / run.DEV).write_text("newer")
    run.ensure(run.RUNTIME)
    assert commands == []
    run.ensure(run.RUNTIME, run.DEV)
    assert [line.rpartition(" ")[2] for line in commands] == [run.DEV, "."]
    assert json.loads(run.STAMP.read_text()).keys() == {"pyproject.toml", run.RUNTIME, run.DEV}


def test_an_installation_that_fails_is_tried_again(
    run: ModuleType, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "command", lambda *words, env: run.fail("no network"))
    monkeypatch.setattr(run, "find_uv", lambda: "uv")
    run.PYTHON.parent.mkdir(parents=True)
    run.PYTHON.touch()
    with pytest.raises(SystemExit):
        run.ensure(run.RUNTIME)
    assert not run.STAMP.exists()


def test_without_uv_and_pip_one_line_says_what_to_install(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_pip = tmp_path / "python3"
    no_pip.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    no_pip.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(no_pip))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("UV", raising=False)
    with pytest.raises(SystemExit):
        run.find_uv()
    assert "apt install python3-pip" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["UV", "PATH", ".tools"])
def test_uv_is_taken_from_the_variable_then_path_then_tools(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    uv = (run.TOOLS if where == ".tools" else tmp_path) / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.touch(0o700)
    monkeypatch.setenv("PATH", str(uv.parent) if where == "PATH" else "/nonexistent")
    monkeypatch.setenv("UV", str(uv) if where == "UV" else "")
    assert run.find_uv() == str(uv)


def test_an_old_python_starts_a_newer_one_or_says_what_is_needed(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    became: list[str] = []
    monkeypatch.setattr(run.os, "execv", lambda path, words: became.extend(words))
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    newer = tmp_path / "python3.12"
    newer.write_text("#!/bin/sh\nexit 0\n")
    newer.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    run.need_python()
    assert became[0] == str(newer)
    newer.unlink()
    with pytest.raises(SystemExit):
        run.need_python()
    assert "Python 3.11 or newer" in capsys.readouterr().err


def test_without_a_gpu_the_gpu_verb_says_so(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "has_gpu", lambda: False)
    with pytest.raises(SystemExit):
        run.gpu()
    assert "no NVIDIA GPU" in capsys.readouterr().err


def test_cuda_is_installed_exactly_where_there_is_a_gpu(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for there, locks in ((False, [run.RUNTIME]), (True, [run.RUNTIME, run.CUDA])):
        monkeypatch.setattr(run, "has_gpu", lambda there=there: there)
        assert run.runtime() == locks


def test_an_unknown_benchmark_gets_the_known_ones(run: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    (run.ROOT / "benchmarks").mkdir()
    (run.ROOT / "benchmarks" / "kernels.py").touch()
    with pytest.raises(SystemExit):
        run.bench("kernel")
    assert "there are kernels" in capsys.readouterr().err


def test_children_see_the_data_sets_beside_the_checkout_unless_told_otherwise(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TRAINYARD_DATASETS_DIR", raising=False)
    monkeypatch.setattr(run, "ROOT", tmp_path / "checkout")
    assert "TRAINYARD_DATASETS_DIR" not in run.environment()
    beside = tmp_path / "shared" / "data"
    beside.mkdir(parents=True)
    assert run.environment()["TRAINYARD_DATASETS_DIR"] == str(beside)
    monkeypatch.setenv("TRAINYARD_DATASETS_DIR", "/elsewhere")
    assert run.environment()["TRAINYARD_DATASETS_DIR"] == "/elsewhere"


def test_the_ci_script_is_executable_and_runs_both_verbs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.index("run.py lint") < text.index("run.py test")
