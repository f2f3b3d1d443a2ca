"""What docs/security.md promises is held by tests that exist; what must never be called is called nowhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for room in ("kernels", "services", "workers", "api") for file in (ROOT / room).rglob("*.py"))
PAGE = (ROOT / "docs" / "security.md").read_text()
MODULES = frozenset(
    {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "imp", "code"}
)
CALLS = frozenset(
    {"eval", "exec", "os.system", "os.popen", "torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
     "pickle.loads", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn", "np.loadtxt", "tempfile.mktemp"}
)  # fmt: skip
OURS = {"kernels/source.py": ["exec"]}
"""Kernels' bodies are written by us, compiled from text of ours alone; nothing that was read gets there."""
FLAGS = {"allow_pickle": True, "shell": True, "verify": False}


def broken_rules(text: str) -> Iterator[str]:
    """Everything in a source text that must not be there."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in names if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            if (called := ast.unparse(node.func)) in CALLS:
                yield called
            for word in node.keywords:
                if word.arg in FLAGS and not (
                    isinstance(word.value, ast.Constant) and word.value.value is not FLAGS[word.arg]
                ):
                    yield f"{word.arg}={ast.unparse(word.value)}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_executes_what_it_reads(file: Path) -> None:
    assert list(broken_rules(file.read_text())) == OURS.get(str(file.relative_to(ROOT)), [])


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from joblib import load", "import dill as d", "from marshal import loads", "import shelve",
        "eval('1')", "exec(x)", "os.system('ls')", "np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=maybe)",
        "torch.load(f)", "yaml.load(f)", "subprocess.run(x, shell=True)", "import cloudpickle", "get(u, verify=False)",
    ],
)  # fmt: skip
def test_the_rule_would_notice(text: str) -> None:
    assert list(broken_rules(text))


def test_what_is_harmless_passes() -> None:
    lines = ["np.load(f, allow_pickle=False)", "yaml.safe_load(f)", "run(x, shell=False)", "model.eval()", "x = 'eval'"]
    text = "\n".join(lines)
    assert list(broken_rules(text)) == []


def named_tests() -> list[tuple[str, str]]:
    """(file, test) of every test that the page names."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_every_promise_names_a_test() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not re.match(r"\| (-|promise|incident)", line)
    ]
    assert len(rows) > 30
    assert [row for row in rows if "`tests/" not in row] == []


@pytest.mark.parametrize(("file", "name"), named_tests(), ids=lambda part: part)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    found = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}
    assert name in found
