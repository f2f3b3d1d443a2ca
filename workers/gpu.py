"""Which devices this machine has, found without a single CUDA call: a process that has touched CUDA must not fork.

The kernel's device files tell how many GPUs there are, `nvidia-smi` (a process of its own) what they are called.
"""

import csv
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from services.fleet import Device
from workers import memory

_MEBIBYTE: Final = 1024 * 1024
_FIELDS: Final = "index,uuid,name,memory.total,memory.free"
#: What hides every GPU from CUDA; an empty text would do, but some launchers drop empty variables.
NO_GPU: Final = "-1"


@final
class NoSuchDevice(Exception):
    """This machine does not have the device that was asked for."""


@final
@dataclass(frozen=True)
class Choice:
    """A device a worker serves: what it takes from the queue, what CUDA may see, and what the trainer calls it."""

    device: Device
    takes: frozenset[str]
    cuda_devices: str
    trainer_device: str


@final
@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver lists it; memory in bytes, None where unknown."""

    index: str
    uuid: str
    name: str
    memory_total: int | None
    memory_free: int | None


def choose(wanted: str) -> Choice:
    """The device for `cpu`, `gpu`, `gpu:0`, … or `auto`: a GPU if there is one, else the CPU. Raises NoSuchDevice."""
    kind, _, number = wanted.partition(":")
    if kind not in {"cpu", "gpu", "auto"} or not re.fullmatch(r"\d*", number) or (number and kind != "gpu"):
        raise NoSuchDevice(f"{wanted!r} is no device. Known: auto, cpu, gpu, gpu:0, gpu:1, …")
    gpus = visible_gpus() if kind != "cpu" else []
    if kind == "cpu" or (kind == "auto" and not gpus):
        return Choice(describe_cpu(), frozenset({"cpu"}), NO_GPU, "cpu")
    index = int(number or 0)
    if index >= len(gpus):
        raise NoSuchDevice(f"There is no {wanted}: this machine shows {len(gpus)} GPU(s).")
    gpu = gpus[index]
    device = Device("gpu", gpu.name, gpu.memory_total, gpu.memory_free)
    return Choice(device, frozenset({"gpu"}), gpu.uuid or gpu.index, "cuda:0")


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs that CUDA would show, in its order, `CUDA_VISIBLE_DEVICES` heeded."""
    gpus = _listed() or _device_files()
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    return gpus if wanted is None else _selected(gpus, wanted)


def _selected(gpus: list[Gpu], wanted: str) -> list[Gpu]:
    chosen: list[Gpu] = []
    for entry in filter(None, (part.strip() for part in wanted.split(","))):
        match = [gpu for gpu in gpus if entry == gpu.index or (gpu.uuid and gpu.uuid.startswith(entry))]
        if not match:
            break  # CUDA, too, ends the list at the first entry it does not know.
        chosen.append(match[0])
    return chosen


def _device_files(folder: Path = Path("/dev")) -> list[Gpu]:
    numbers = sorted(int(path.name[6:]) for path in folder.glob("nvidia[0-9]*") if path.name[6:].isdigit())
    return [Gpu(str(number), "", "NVIDIA GPU", None, None) for number in numbers]


def _listed() -> list[Gpu]:
    command = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if (gpu := _gpu(row))]


def _gpu(row: list[str]) -> Gpu | None:
    if len(row) != _FIELDS.count(",") + 1:
        return None
    index, uuid, name, total, free = row
    return Gpu(index, uuid, name, _bytes(total), _bytes(free))


def _bytes(mebibytes: str) -> int | None:
    return int(mebibytes) * _MEBIBYTE if mebibytes.isdigit() else None


def free_memory(choice: Choice) -> int | None:
    """Bytes free on the device now."""
    if choice.device.kind == "cpu":
        return memory.free()
    return next((gpu.memory_free for gpu in _listed() if choice.cuda_devices in {gpu.uuid, gpu.index}), None)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_cpu() -> Device:
    """The CPU: model, cores, and the memory that its processes may use: the machine's, or what a limit leaves of it."""
    text = _read("/proc/cpuinfo")
    model = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    name = model.group(1).strip() if model else platform.processor() or platform.machine()
    return Device("cpu", f"{name} ({cores()} cores)", memory.total(), memory.free())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
