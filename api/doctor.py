"""`trainyard doctor`: what this machine has, what it lacks, and how to mend it."""

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

from rich.console import Console
from rich.text import Text

from api.broker import find_server
from api.serve import find_address
from services.errors import TrainyardError
from services.settings import Settings
from services.sql.engine import open_engine, ping

MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "broken": ("✗", "red")}
NEWEST_TRIED = (3, 13)
CUDA_MODULES = {"numba_cuda": "numba-cuda", "cupy": "CuPy", "cuda.core": "cuda-core"}
LEAST_DISK = 2 * 1024**3


@final
@dataclass(frozen=True)
class Finding:
    """One look at the machine: `note` is no fault, `broken` keeps something from working."""

    what: str
    state: Literal["ok", "note", "broken"]
    found: str
    remedy: str = ""

    @property
    def broken(self) -> bool:
        """Does something not work because of this?"""
        return self.state == "broken"

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def print_on(self, console: Console) -> None:
        """One line, and the remedy below it."""
        mark, colour = MARKS[self.state]
        console.print(Text(mark, style=colour), Text(f"{self.what:10}"), Text(self.found), soft_wrap=True)
        if self.remedy:
            console.print(Text(f"             {self.remedy}", style="dim"), soft_wrap=True)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything once; nothing is changed, nothing is downloaded."""
    yield python()
    yield broker(settings)
    yield gpu()
    yield cuda()
    yield stack(settings)
    yield database(settings)
    yield disk(settings.data_dir)
    yield datasets(settings.datasets_dir)


def python() -> Finding:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > NEWEST_TRIED:
        remedy = "If something fails, make .venv with Python 3.11 to 3.13."
        return Finding("python", "note", f"{version}, newer than any that was tried", remedy)
    return Finding("python", "ok", f"{version} at {sys.executable}")


def broker(settings: Settings) -> Finding:
    """A server to ring doorbells with."""
    if settings.redis_url:
        return Finding("broker", "ok", "the one that TRAINYARD_REDIS_URL names")
    try:
        return Finding("broker", "ok", str(find_server()))
    except TrainyardError as error:
        return Finding("broker", "broken", error.message, error.hint or "")


def gpu() -> Finding:
    """The NVIDIA driver and what it drives."""
    program = shutil.which("nvidia-smi")
    if program is None:
        state: Literal["note", "broken"] = "broken" if Path("/dev/nvidia0").exists() else "note"
        return Finding("gpu", state, "no NVIDIA driver (nvidia-smi)", "Without a GPU everything trains on the CPU.")
    query = [program, "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)
    if answer.returncode:
        return Finding("gpu", "broken", (answer.stdout or answer.stderr).strip(), "Repair or reinstall the driver.")
    return Finding("gpu", "ok", "; ".join(answer.stdout.strip().splitlines()))


def cuda() -> Finding:
    """The Python packages that kernels on the GPU need."""
    missing = [title for module, title in CUDA_MODULES.items() if not present(module)]
    if not missing:
        return Finding("cuda", "ok", f"{', '.join(CUDA_MODULES.values())} are installed")
    if not Path("/dev/nvidia0").exists():
        return Finding("cuda", "note", f"{', '.join(missing)} not installed, and no GPU needs them")
    return Finding("cuda", "broken", f"{', '.join(missing)} not installed", "`python3 run.py serve` installs them.")


def present(module: str) -> bool:
    """Could this module be imported? It is not imported, because importing may touch the GPU."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def stack(settings: Settings) -> Finding:
    """The API's port, or the stack that has it already."""
    address = find_address(settings.data_dir)
    if address:
        return Finding("server", "ok", f"runs at {address.url}")
    where = f"{settings.host}:{settings.port}"
    try:
        socket.create_server((settings.host, settings.port)).close()
    except OSError as problem:
        return Finding(
            "server", "note", f"{where}: {problem.strerror}", "`trainyard serve --port 0` takes a free port."
        )
    return Finding("server", "ok", f"not running; {where} is free for it")


def database(settings: Settings) -> Finding:
    """The record."""
    if not settings.database_url and not settings.data_dir.exists():
        return Finding("database", "ok", f"will be made in {settings.data_dir}")
    try:
        engine = open_engine(settings.database)
        ping(engine)
    except TrainyardError as error:
        return Finding("database", "broken", error.message, error.hint or "Check TRAINYARD_DATABASE_URL.")
    return Finding("database", "ok", f"{engine.dialect.name} answers")


def disk(folder: Path) -> Finding:
    """Room for models and checkpoints."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1024**3:.1f} GiB free for {folder}"
    if free < LEAST_DISK:
        return Finding("disk", "broken", text, "Delete jobs, or point TRAINYARD_DATA_DIR at a larger disk.")
    return Finding("disk", "ok", text)


def datasets(folder: Path) -> Finding:
    """The cache of downloaded data sets."""
    if not folder.exists():
        return Finding("data sets", "ok", f"{folder} will be made at the first download")
    files = sum(path.is_file() for path in folder.rglob("*"))
    return Finding("data sets", "ok", f"{files} files in {folder}")
