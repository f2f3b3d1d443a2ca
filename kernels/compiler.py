"""Numba as a compiler: kernel source to machine code for this CPU, and to cubins for any NVIDIA target.

The only file (with the interpreter it feeds) that knows njit, cuda.compile and nvJitLink. Nothing is compiled
at import. Compiled code lies in a private cache folder whose name holds the hash of every kernel source,
because Numba's own cache does not notice an edit in an imported file (numba issue 8396).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import types as python_types
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest import mock

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from kernels.launch import Deferred, Launch, device, each
from kernels.source import cpu_launcher, cuda_source, fingerprint, rebind, write

FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}
"""Fast-math flags that allow vectorised sums; NaN and infinity keep their meaning, so divergence stays visible."""

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": FAST, "nogil": True}
TARGETS: tuple[tuple[int, int, str], ...] = ((7, 5, ""), (8, 0, ""), (9, 0, "a"), (10, 0, ""))
"""The compute capabilities every kernel is compiled for in the tests: Turing, Ampere, Hopper, Blackwell."""


def cache_folder() -> Path:
    """The folder of compiled kernels for exactly this source and these versions, readable by its owner alone."""
    base = Path(os.environ.get("TRAINYARD_KERNEL_CACHE") or Path.home() / ".cache" / "trainyard" / "kernels")
    versions = f"py{sys.version_info.major}{sys.version_info.minor}-numba{numba.__version__}"
    folder = base / f"{versions}-{fingerprint()}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


numba.config.CACHE_DIR = str(cache_folder())


def _pointer_cast(element: Any) -> Any:
    """An intrinsic that reads an address as a pointer to `element`."""

    @intrinsic  # type: ignore[untyped-decorator]
    def cast(_context: Any, address: Any) -> Any:
        signature = types.CPointer(element)(types.intp)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return signature, generate

    return cast


@intrinsic  # type: ignore[untyped-decorator]
def float64_of(_context: Any, bits: Any) -> Any:
    """The float64 whose bits a table entry holds."""
    return types.float64(types.int64), lambda _c, builder, _s, values: builder.bitcast(values[0], ir.DoubleType())


@njit(**OPTIONS)
def float32_of(bits: int) -> Any:
    """The float32 nearest to the float64 whose bits a table entry holds."""
    return np.float32(float64_of(bits))


_ELEMENTS = ("float32", "float64", "int32", "uint32", "int64", "uint8")
_WORDS: dict[str, Any] = {f"pointer_to_{name}": _pointer_cast(getattr(types, name)) for name in _ELEMENTS}
_WORDS |= {"float32_of": float32_of, "float64_of": float64_of, "scratch_pointer": _WORDS["pointer_to_float32"]}


@intrinsic  # type: ignore[untyped-decorator]
def call_kernel(_context: Any, function: Any, table: Any, begin: Any, end: Any, scratch: Any) -> Any:
    """Call a compiled kernel by its address: void(int64 table, int64 begin, int64 end, int64 scratch)."""
    signature = types.void(*[types.int64] * 5)

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        kernel = ir.FunctionType(ir.VoidType(), [word] * 4).as_pointer()
        builder.call(builder.inttoptr(values[0], kernel), list(values[1:]))
        return context.get_dummy_value()

    return signature, generate


class _CpuFunctions:
    """Every kernel that this process has compiled for the CPU, by source and argument kinds."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[Any, ...], Any] = {}
        self._devices: dict[device, Any] = {}

    def address(self, launch: Launch, element: str) -> int:
        kinds = tuple(kind_of(a, element) for a in launch.args)
        key = (launch.kernel, kinds, launch.m is None)
        if key not in self._compiled:
            self._compiled[key] = self._compile(launch, kinds)
        return int(self._compiled[key].address)

    def _compile(self, launch: Launch, kinds: tuple[str, ...]) -> Any:
        kernel = launch.kernel
        source = kernel.body if isinstance(kernel, each) else kernel.cpu
        name, text = cpu_launcher(launch, kinds)
        inner = njit(**OPTIONS)(rebind(source, self.translate))
        # Numba's disk cache finds a function again by its module's name.
        scope = {"__name__": __name__, **_WORDS, ("body" if isinstance(kernel, each) else "twin"): inner}
        launcher = write(text, name, scope, source.__code__.co_filename)
        launcher.__qualname__ = f"{kernel.name}.{name}"
        signature = types.void(*[types.int64] * 4)
        return numba.cfunc(signature, cache=True, error_model="numpy", fastmath=FAST)(launcher)

    def translate(self, value: Any) -> Any:
        if isinstance(value, Deferred):
            return value.resolve()
        if isinstance(value, device):
            if value not in self._devices:
                self._devices[value] = njit(**OPTIONS)(rebind(value.function, self.translate))
            return self._devices[value]
        return value


_cpu_functions = _CpuFunctions()


def kind_of(argument: Any, element: str) -> str:
    """How an argument travels: 'f4*' an array of float32, 'i' an integer, 'f4' a number of the launch's element type."""
    if isinstance(argument, bool | int):
        return "i"
    if isinstance(argument, float):
        return element
    return f"{np.dtype(argument.dtype).str[1:]}*"


def element_of(launch: Launch) -> str:
    """The float type a launch computes in: that of its arrays (float64 only in gradient checks)."""
    return "f8" if any(np.dtype(a.dtype) == np.float64 for a in launch.arrays) else "f4"


def cpu_address(launch: Launch) -> int:
    """The address of the machine code for this launch's kernel and argument kinds; compiled at most once."""
    return _cpu_functions.address(launch, element_of(launch))


@dataclass(frozen=True, slots=True)
class Cubin:
    """A kernel assembled for one NVIDIA target, with what the assembler said of it (registers; bytes)."""

    name: str
    code: bytes
    registers: int
    stack: int
    spills: int
    shared: int


def ptx(launch: Launch, target: tuple[int, int, str]) -> str:
    """The PTX of a launch for one target. Needs the CUDA packages, no GPU and no driver."""
    from numba import cuda as numba_cuda
    from numba.cuda import types as cuda_types

    translated: dict[int, Any] = {}

    def translate(value: Any) -> Any:
        if isinstance(value, Deferred):
            return value.resolve()
        if isinstance(value, device):
            if id(value.function) not in translated:
                translated[id(value.function)] = numba_cuda.jit(device=True)(rebind(value.function, translate))
            return translated[id(value.function)]
        return value

    architecture = python_types.SimpleNamespace(compute_capability=target[:2])
    # A call of a device function makes Numba ask which GPU is current; the target answers instead of a driver.
    with mock.patch("numba.cuda.dispatcher.get_current_device", lambda: architecture):
        source = cuda_source(launch, translate)
        pointers = tuple(cuda_types.CPointer(getattr(cuda_types, np.dtype(a.dtype).name)) for a in source.arrays)
        cc = target if target[2] else target[:2]
        text, _ = numba_cuda.compile_ptx(source.function, pointers, cc=cc, launch_bounds=source.threads)
    return str(text)


def cubin(launch: Launch, target: tuple[int, int, str]) -> Cubin:
    """Assemble a launch for one target, from the cache where it was assembled before."""
    path = cache_folder() / f"{_cuda_key(launch, target)}.cubin"
    if path.exists():
        head, _, code = path.read_bytes().partition(b"\n")
        return Cubin(code=code, **json.loads(head))
    made = assemble(ptx(launch, target), target)
    head = json.dumps({k: v for k, v in asdict(made).items() if k != "code"}).encode()
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(head + b"\n" + made.code)
    draft.replace(path)
    return made


def _cuda_key(launch: Launch, target: tuple[int, int, str]) -> str:
    arguments = [a if isinstance(a, int | float) else np.dtype(a.dtype).str for a in launch.args]
    tools = [_installed(name) for name in ("numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink")]
    return hashlib.sha256(repr((launch.kernel.name, launch.n, launch.m, arguments, target, tools)).encode()).hexdigest()


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def assemble(text: str, target: tuple[int, int, str]) -> Cubin:
    """PTX to a cubin by nvJitLink, in this process."""
    from cuda.bindings import nvjitlink

    found = re.search(r"\.visible \.entry (\w+)\(", text)
    assert found is not None, "the PTX has no entry point"
    options = ["-arch=sm_" + "".join(map(str, target)), "-Xptxas=-v"]
    handle = nvjitlink.create(len(options), options)
    try:
        data = text.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), found[1])
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
    finally:
        nvjitlink.destroy(handle)
    said = log.decode()
    frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    used = re.search(r"Used (\d+) registers", said)
    shared = sum(int(size) for size in re.findall(r"^\.\w+ \.shared .*\[(\d+)\];", text, re.MULTILINE))
    assert frame is not None and used is not None, f"the assembler said nothing of registers: {said}"
    return Cubin(found[1], bytes(code), int(used[1]), int(frame[1]), int(frame[2]) + int(frame[3]), shared)
