"""Everything a fresh clone needs, in one standard-library file: brings uv, builds .venv from a hash lock, then acts.

`python3 run.py` lists the verbs. The first run installs; later runs compare one stamp and start at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, List, NoReturn, Optional  # noqa: UP035  (an older python3 must reach the sentence below)

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "trainyard.json"
TOOLS = ROOT / ".tools"
OLDEST = (3, 11)
NEWER = ("python3.13", "python3.12", "python3.11", "python3.14")
RUNTIME, DEV, CUDA = "requirements.lock", "requirements-dev.lock", "requirements-cuda13.lock"
EXTRAS = {CUDA: ["--extra", "cuda13"], RUNTIME: [], DEV: ["--extra", "dev"]}
TORCH = "torch==2.13.0"


def fail(sentence: str) -> NoReturn:
    """End with one sentence that says what is wrong and what to do."""
    print(f"run.py: {sentence}", file=sys.stderr)
    sys.exit(2)


def need_python() -> None:
    """Go on in Python 3.11 or newer; start this file again in one from PATH when this one is older."""
    if sys.version_info[:2] >= OLDEST:
        return
    found = next((path for path in map(shutil.which, NEWER) if path and starts(path)), None)
    if found is None:
        fail(f"Trainyard needs Python 3.11 or newer; this is {sys.version.split()[0]} and PATH holds no newer one.")
    os.execv(found, [found, str(Path(__file__).resolve()), *sys.argv[1:]])


def starts(program: str) -> bool:
    """Does this python really start? A version switcher's stand-in may only print what it lacks."""
    return subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode == 0


def has_gpu() -> bool:
    """Is an NVIDIA driver's first device there?"""
    return Path("/dev/nvidia0").exists()


def environment() -> Dict[str, str]:  # noqa: UP006
    """The variables of every child: .venv first on PATH, and the data sets that lie beside the checkout, if any."""
    env = {**os.environ, "VIRTUAL_ENV": str(VENV), "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    env["UV_PYTHON_DOWNLOADS"] = "never"
    for name in ("PYTHONHOME", "PYTHONPATH"):
        env.pop(name, None)
    beside = ROOT.parent / "shared" / "data"
    if beside.is_dir():
        env.setdefault("TRAINYARD_DATASETS_DIR", str(beside))
    return env


def find_uv() -> str:
    """$UV, then PATH, then .tools; otherwise pip brings it into .tools, whose content no other program sees."""
    own = TOOLS / "bin" / "uv"
    for found in (os.environ.get("UV"), shutil.which("uv"), str(own)):
        if found and os.access(found, os.X_OK):
            return found
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        fail("this python3 has no pip. Install it (Debian and Ubuntu: apt install python3-pip) or put uv on PATH.")
    print("Bringing uv into .tools …", file=sys.stderr)
    options = ["--quiet", "--disable-pip-version-check", "--no-warn-script-location", "--upgrade", "--target"]
    quiet = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    bring = [*pip, "install", *options, str(TOOLS), "uv"]
    if subprocess.run(bring, env=quiet, check=False).returncode or not own.exists():
        fail("pip could not install uv; its message stands above. Is the package index reachable?")
    return str(own)


def network() -> Dict[str, str]:  # noqa: UP006
    """Variables that make uv reach packages as pip does here: through the machine's certificates and pip's index."""
    env = environment()
    store = ssl.get_default_verify_paths()
    if store.cafile or store.capath or sys.platform == "darwin":
        env.setdefault("UV_SYSTEM_CERTS", "1")
    config = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = subprocess.run(config, capture_output=True, text=True, check=False).stdout.strip()
    if index and "UV_INDEX_URL" not in env:
        env.setdefault("UV_DEFAULT_INDEX", index)
    return env


def digest(name: str) -> str:
    """SHA-256 of a file of this repository."""
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def installed() -> Dict[str, str]:  # noqa: UP006
    """What .venv was made from, by file name; nothing when there is no usable .venv."""
    try:
        stamp = json.loads(STAMP.read_text()) if PYTHON.exists() and STAMP.exists() else {}
    except ValueError:
        stamp = {}
    return stamp if isinstance(stamp, dict) else {}


def ensure(*locks: str) -> None:
    """Make .venv hold these locks and this project; when the stamp already says so, do nothing."""
    wanted = {name: digest(name) for name in ("pyproject.toml", *locks)}
    if wanted.items() <= installed().items():
        return
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / "lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not wanted.items() <= installed().items():
            install(wanted)


def install(wanted: Dict[str, str]) -> None:  # noqa: UP006
    """Bring .venv to the wanted files, then stamp it; a failure leaves the old stamp, so the next run tries again."""
    uv = find_uv()
    if not PYTHON.exists():
        command(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV))
    have = installed()
    pip, env = [uv, "pip", "install", "--python", str(PYTHON)], network()
    for name in (name for name in wanted if name.endswith(".lock") and have.get(name) != wanted[name]):
        print(f"Installing {name} into .venv …", file=sys.stderr)
        command(*pip, "--quiet", "--require-hashes", "-r", name, env=env)
    command(*pip, "--quiet", "--no-deps", "-e", ".", env=env)
    fresh = {name: sha for name, sha in have.items() if (ROOT / name).exists() and digest(name) == sha}
    STAMP.write_text(json.dumps({**fresh, **wanted}, indent=1))


def command(*words: str, env: Optional[Dict[str, str]] = None) -> None:  # noqa: UP006, UP045
    """Run a command in the repository; end with a sentence when it fails."""
    if subprocess.run(words, cwd=ROOT, env=env or environment(), check=False).returncode:
        fail(f"`{' '.join(words)}` failed; its message stands above.")


def become(*words: str) -> NoReturn:
    """Turn into .venv's python: no process stands between the user's Ctrl-C and the program."""
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execve(PYTHON, [str(PYTHON), *words], environment())


def runtime() -> List[str]:  # noqa: UP006
    """The locks that running needs here: with CUDA exactly where there is a GPU."""
    return [RUNTIME, CUDA] if has_gpu() else [RUNTIME]


def demo(*words: str) -> None:
    """train a small convolutional network through the whole stack, watch it, use it"""
    ensure(*runtime())
    become("-m", "api.demo", *words)


def serve(*words: str) -> None:
    """start broker, API and one worker and leave them running; prints the URL"""
    ensure(*runtime())
    become("-m", "api.cli", "serve", *words)


def test(*words: str) -> None:
    """run the whole test suite on all cores with its own broker and database; arguments go to pytest"""
    ensure(RUNTIME, DEV)
    if os.environ.get("CI") == "true":
        bring_torch()
    # A file stays with one process, for it starts its servers and compiles its kernels once.
    whole = all(word.startswith("-") for word in words)
    spread = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile"] if whole else []
    become("-m", "pytest", *spread, *words)


def bring_torch() -> None:
    """Add PyTorch for the peers group; where it cannot be had, those tests skip and say so."""
    if any(VENV.glob("lib/python*/site-packages/torch-2.13.0*")):
        return
    pip = [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--quiet", TORCH]
    if subprocess.run(pip, cwd=ROOT, check=False).returncode:
        print(f"run.py: {TORCH} cannot be had here; the comparisons with it will be skipped.", file=sys.stderr)


def lint() -> None:
    """ruff, mypy, import rules, and the schema of docker-compose.yml"""
    ensure(RUNTIME, DEV)
    tools = [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
    ]
    failed = [" ".join(tool[:2]) for tool in tools if not passes(tool)]
    if failed:
        fail(f"not clean: {'; '.join(failed)}.")


def audit() -> None:
    """ask the package index about known vulnerabilities of every locked version"""
    asked = subprocess.run([sys.executable, str(ROOT / ".ci" / "audit.py")], cwd=ROOT, check=False)
    if asked.returncode:
        fail(
            "a known vulnerability: bring a mended version with `lock`, or list it in .ci/accepted.txt with the reason."
        )


def passes(tool: List[str]) -> bool:  # noqa: UP006
    """Run one checker out of .venv, its name printed first."""
    print(f"── {' '.join(tool)}", flush=True)
    program = str(PYTHON.parent / tool[0])
    return subprocess.run([program, *tool[1:]], cwd=ROOT, env=environment(), check=False).returncode == 0


def chaos(*words: str) -> None:
    """kill, freeze and starve a running stack and check that nothing is lost; --list names the scenarios"""
    ensure(RUNTIME, DEV)
    become("-m", "tests.chaos", *words)


def bench(*words: str) -> None:
    """measure against named peers and print ratios; or one of: kernels, training, service"""
    known = [name for name in ("kernels", "training", "service") if (ROOT / "benchmarks" / f"{name}.py").exists()]
    names = [word for word in words if not word.startswith("-")] or known
    for unknown in (name for name in names if name not in known):
        fail(f"there is no benchmark {unknown!r}; there are {', '.join(known)}.")
    ensure(RUNTIME, DEV, *([CUDA] if has_gpu() else []))
    for name in names:
        command(str(PYTHON), "-m", f"benchmarks.{name}", *(word for word in words if word.startswith("-")))


def gpu(*words: str) -> None:
    """run the GPU tests on this machine's NVIDIA GPU; arguments go to pytest"""
    if not has_gpu():
        fail("no NVIDIA GPU here (/dev/nvidia0 is missing), so there is nothing to run the GPU tests on.")
    ensure(RUNTIME, DEV, CUDA)
    become("-m", "pytest", "-m", "gpu", *words)


def docs() -> None:
    """write the reference pages under docs/ from the code"""
    ensure(RUNTIME, DEV)
    become("-m", "services.reference")


def lock() -> None:
    """resolve pyproject.toml anew into the three hash locks, which name no address"""
    uv = find_uv()
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet", "--upgrade"]
    options += ["--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
    for name, extras in EXTRAS.items():
        bound = [] if name == CUDA else ["--constraints", CUDA]
        command(uv, "pip", "compile", "pyproject.toml", *options, *extras, *bound, "--output-file", name, env=network())
        packages = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith(" ")]
        print(f"{name}: {len(packages)} packages")


VERBS: Dict[str, Callable[..., None]] = {  # noqa: UP006
    verb.__name__: verb for verb in (demo, test, serve, lint, audit, chaos, bench, gpu, docs, lock)
}


def main(words: List[str]) -> int:  # noqa: UP006
    """Act on a verb; list the verbs when there is none."""
    if not words or words[0] in ("-h", "--help", "help"):
        print("usage: python3 run.py VERB [arguments]\n")
        for name, verb in VERBS.items():
            print(f"  {name:6} {verb.__doc__}")
        return 0
    if words[0] not in VERBS:
        fail(f"there is no verb {words[0]!r}; there are {', '.join(VERBS)}.")
    need_python()
    if words[1:] and words[0] in ("lint", "audit", "docs", "lock"):
        fail(f"{words[0]} takes no arguments.")
    VERBS[words[0]](*words[1:])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
