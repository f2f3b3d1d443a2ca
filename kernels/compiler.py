"""Numba as a compiler: kernel source to machine code for this CPU (for GPUs: `kernels.cuda_compiler`).

The only file (with the interpreter it feeds) that knows njit. Nothing is compiled at import. Compiled code lies in a
private cache folder whose name holds the hash of every kernel source,
because Numba's own cache does not notice an edit in an imported file (numba issue 8396).
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from kernels import elementary
from kernels.launch import Body, Deferred, Launch, device, each
from kernels.source import cpu_launcher, fingerprint, fingerprint_of, rebind, write

FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}
"""Fast-math flags that allow vectorised sums; NaN and infinity keep their meaning, so divergence stays visible."""

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": FAST, "nogil": True}


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

    @intrinsic
    def cast(_context: Any, address: Any) -> Any:
        signature = types.CPointer(element)(types.intp)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return signature, generate

    return cast


@intrinsic
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


@intrinsic
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
        # A body that is called instead of inlined, because it is long, would never run in a vector loop.
        inner = njit(**OPTIONS, forceinline=isinstance(kernel, each))(self.bound(source))
        # Numba's disk cache finds a function again by its module's name.
        scope = {"__name__": __name__, **_WORDS, ("body" if isinstance(kernel, each) else "twin"): inner}
        launcher = write(text, name, scope, source.__code__.co_filename)
        launcher.__qualname__ = f"{kernel.name}.{name}.{fingerprint_of(source)}"
        signature = types.void(*[types.int64] * 4)
        return numba.cfunc(signature, cache=True, error_model="numpy", fastmath=FAST)(launcher)

    def bound(self, function: Body) -> Any:
        """The function in the CPU's words, under a name that only it has.

        Numba makes a symbol of a function's name and a number that counts within the process. Two closures of one
        factory, compiled in two processes, may so become the same symbol; a process that takes both out of the disk
        cache would call one for the other.
        """
        found = rebind(function, self.translate)
        found.__qualname__ += f"_{fingerprint_of(function)}"
        return found

    def translate(self, value: Any) -> Any:
        if isinstance(value, Deferred):
            return value.resolve()
        if value is math:
            return elementary
        if isinstance(value, device):
            if value not in self._devices:
                self._devices[value] = njit(**OPTIONS, forceinline=True)(self.bound(value.function))
            return self._devices[value]
        return value


_cpu_functions = _CpuFunctions()


def kind_of(argument: Any, element: str) -> str:
    """How an argument travels: 'f4*' an array of float32, 'i' an integer, 'f4' a number of the launch's type."""
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
