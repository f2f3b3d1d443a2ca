"""Numba as a compiler for NVIDIA GPUs: kernel source to PTX once, and from there to a cubin for each target.

Needs the CUDA packages, but neither a GPU nor a driver. PTX is made for the oldest target, which every newer one can
assemble: what the tests inspect for four architectures is the code that a GPU will run. Both lie in the compiler's
cache folder, so a machine compiles a kernel once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import types as python_types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final
from unittest import mock

import numpy as np

from kernels.compiler import cache_folder
from kernels.launch import Deferred, Launch, device, each
from kernels.source import CudaSource, cuda_sources, identity, rebind

Target = tuple[int, int, str]

TARGETS: tuple[Target, ...] = ((7, 5, ""), (8, 0, ""), (9, 0, "a"), (10, 0, ""))
"""The compute capabilities for which the tests inspect every kernel: Turing, Ampere, Hopper, Blackwell."""

OLDEST = TARGETS[0][:2]


@final
@dataclass(frozen=True, slots=True)
class Cubin:
    """A kernel assembled for one target, with what there is to say of it (bytes, but for registers and counts).

    `shared` is what the kernel declares itself; `doubles` counts the float64 instructions of its PTX.
    """

    name: str
    code: bytes
    registers: int
    stack: int
    spills: int
    shared: int
    doubles: int


def target_name(target: Target) -> str:
    """As the CUDA tools write it: sm_90a."""
    return "sm_" + "".join(map(str, target))


def cuda_key(launch: Launch) -> str:
    """A name for a launch's machine code: equal for launches that compile to the same kernel."""
    kernel = launch.kernel
    made_by = kernel.body if isinstance(kernel, each) else kernel.grid
    arguments = [a if isinstance(a, int | float) else np.dtype(a.dtype).str for a in launch.args]
    tools = [_installed(name) for name in ("numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink")]
    parts = (kernel.name, identity(made_by), launch.n, launch.m, arguments, tools)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def cubins(launch: Launch, target: Target) -> list[Cubin]:
    """Assemble a launch's kernels for one target, from the cache where they were assembled before."""
    path = cubins_path(launch, target)
    if not path.exists():
        _write(path, b"".join(_packed(assemble(text, target)) for text in ptx(launch)))
    return _unpacked(path.read_bytes())


def cubins_path(launch: Launch, target: Target) -> Path:
    """Where a launch's cubins lie once they are assembled."""
    return cache_folder() / f"{cuda_key(launch)}.{target_name(target)}.cubins"


def ptx(launch: Launch) -> list[str]:
    """The PTX of a launch's kernels for the oldest target, from the cache where it was compiled before."""
    path = cache_folder() / f"{cuda_key(launch)}.ptx.json"
    if not path.exists():
        _write(path, json.dumps(compile_ptx(launch)).encode())
    found: list[str] = json.loads(path.read_bytes())
    return found


def _write(path: Path, data: bytes) -> None:
    """Several processes may compile the same kernel: whoever comes last replaces the same bytes."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)


def _packed(made: Cubin) -> bytes:
    head = {k: v for k, v in asdict(made).items() if k != "code"} | {"size": len(made.code)}
    return json.dumps(head).encode() + b"\n" + made.code


def _unpacked(data: bytes) -> list[Cubin]:
    found: list[Cubin] = []
    while data:
        line, _, rest = data.partition(b"\n")
        head = json.loads(line)
        size = head.pop("size")
        found.append(Cubin(code=rest[:size], **head))
        data = rest[size:]
    return found


def compile_ptx(launch: Launch) -> list[str]:
    """Numba at work: the PTX of a launch's kernels, nothing cached."""
    from numba import cuda

    architecture = python_types.SimpleNamespace(compute_capability=OLDEST)
    # A call of a device function makes Numba ask which GPU is current; the target answers instead of a driver.
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=architecture):
        return [_compile(source) for source in cuda_sources(launch, _translator(cuda.jit(device=True)))]


def _compile(source: CudaSource) -> str:
    from numba import cuda
    from numba.cuda import types

    pointers = tuple(types.CPointer(getattr(types, np.dtype(a.dtype).name)) for a in source.arrays)
    text, _ = cuda.compile_ptx(source.function, pointers, cc=OLDEST, launch_bounds=source.threads)
    return str(text)


def _translator(compiled: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Names in kernel source as Numba's CUDA compiler knows them; each device function is made once."""
    made: dict[int, Any] = {}

    def translate(value: Any) -> Any:
        if isinstance(value, Deferred):
            return value.resolve()
        if isinstance(value, device):
            if id(value) not in made:
                made[id(value)] = compiled(rebind(value.function, translate))
            return made[id(value)]
        return value

    return translate


def assemble(text: str, target: Target) -> Cubin:
    """PTX to a cubin by nvJitLink, in this process."""
    entry = re.search(r"\.visible \.entry (\w+)\(", text)
    assert entry is not None, "the PTX has no entry point"
    code, said = _link(text, entry[1], target)
    frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    used = re.search(r"Used (\d+) registers", said)
    assert frame is not None, f"the assembler said nothing of a stack: {said}"
    assert used is not None, f"the assembler said nothing of registers: {said}"
    shared = re.findall(r"^\.\w+ \.shared .*\[(\d+)\];", text, re.MULTILINE)
    doubles = len(re.findall(r"\.f64\b", text))
    spills = int(frame[2]) + int(frame[3])
    return Cubin(entry[1], code, int(used[1]), int(frame[1]), spills, sum(map(int, shared)), doubles)


def _link(text: str, name: str, target: Target) -> tuple[bytes, str]:
    from cuda.bindings import nvjitlink

    options, data = [f"-arch={target_name(target)}", "-Xptxas=-v"], text.encode()
    handle = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), name)
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
    finally:
        nvjitlink.destroy(handle)
    return bytes(code), log.decode()
