"""Kernel source as Python functions: names exchanged, launchers written around bodies.

The compiler and the simulator see the same source through different words; both exchange them here.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, final

import numpy as np

from kernels.launch import Grid, Launch, cuda, device, each

Translate = Callable[[Any], Any]

Zeros = Callable[[tuple[int, ...], str], Any]
"""A backend's `zeros`: shape and element type to a new array."""

THREADS_PER_BLOCK = 256
"""Threads of a block where a body runs once per thread: full occupancy on every target (CUDA guide, table 27)."""

_CPU_LAUNCHER = """
def {name}(table, begin, end, scratch):
    row = pointer_to_int64(table)
{unpack}
    for i in range(begin, end):
        {call}
"""

_CPU_TWIN = """
def {name}(table, begin, end, scratch):
    row = pointer_to_int64(table)
{unpack}
    twin(begin, end, scratch_pointer(scratch), {arguments})
"""

_CUDA_LAUNCHER = """
def {name}({pointers}):
    item = int32(cuda.blockIdx.x * {threads} + cuda.threadIdx.x)
    if item < {items}:
        body({index}, {arguments})
"""
# Unsigned 32-bit division by a constant is one multiplication; Numba would divide signed 64-bit numbers.
_CUDA_INDEX = "int32(uint32(item) // uint32({m})), int32(uint32(item) % uint32({m}))"


def rebind(function: Callable[..., Any], translate: Translate) -> types.FunctionType:
    """The same code over translated globals and closure cells."""
    assert isinstance(function, types.FunctionType)
    names = set(_names(function.__code__))
    scope = {k: translate(v) if k in names else v for k, v in function.__globals__.items()}
    cells = tuple(types.CellType(translate(cell.cell_contents)) for cell in function.__closure__ or ())
    bound = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells or None)
    bound.__qualname__, bound.__module__ = function.__qualname__, function.__module__
    return bound


def _names(code: types.CodeType) -> list[str]:
    inner = [name for const in code.co_consts if isinstance(const, types.CodeType) for name in _names(const)]
    return [*code.co_names, *inner]


def identity(function: Callable[..., Any]) -> tuple[Any, ...]:
    """What tells one kernel function from another of the same name: its code and what its closure holds."""
    assert isinstance(function, types.FunctionType)
    held = [cell.cell_contents for cell in function.__closure__ or ()] + [*(function.__defaults__ or ())]
    return function.__module__, function.__qualname__, _described(function.__code__), tuple(map(_described, held))


def _described(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_names, tuple(_described(const) for const in value.co_consts)
    if isinstance(value, device):
        return identity(value.function)
    return identity(value) if isinstance(value, types.FunctionType) else repr(value)


def fingerprint_of(function: Callable[..., Any]) -> str:
    """A short hash of a function's identity."""
    return hashlib.sha256(repr(identity(function)).encode()).hexdigest()[:16]


def write(text: str, name: str, scope: dict[str, Any], file: str) -> types.FunctionType:
    """Define the function `name` of `text`, as if it stood in `file` (Numba's disk cache needs a file)."""
    exec(compile(text, file, "exec"), scope)
    function = scope[name]
    assert isinstance(function, types.FunctionType)
    return function


def cpu_launcher(launch: Launch, kinds: tuple[str, ...]) -> tuple[str, str]:
    """Source of the function (table, begin, end, scratch) that unpacks a launch's row and runs items begin..end-1."""
    body = launch.m is not None
    name = "on_cpu_" + "_".join(kind.replace("*", "p") for kind in kinds) + ("_rows" if body else "")
    offset = 1 if body else 0
    unpack = [f"    a{k} = {_UNPACK[kind].format(f'row[{k + offset}]')}" for k, kind in enumerate(kinds)]
    arguments = ", ".join(f"a{k}" for k in range(len(kinds)))
    if body:
        unpack.append("    m = row[0]")
        call = f"for j in range(m):\n            body(i, j, {arguments})"
    else:
        call = f"body(i, {arguments})"
    template = _CPU_TWIN if hasattr(launch.kernel, "grid") else _CPU_LAUNCHER
    return name, template.format(name=name, unpack="\n".join(unpack), call=call, arguments=arguments)


_UNPACK = {
    kind + "*": f"pointer_to_{name}({{}})"
    for kind, name in {
        "f4": "float32",
        "f8": "float64",
        "i4": "int32",
        "u4": "uint32",
        "i8": "int64",
        "u1": "uint8",
    }.items()
}
_UNPACK |= {"i": "{}", "f4": "float32_of({})", "f8": "float64_of({})"}


@final
@dataclass(frozen=True, slots=True)
class CudaSource:
    """A launch as CUDA sees it: one Python function over the arrays it takes, spread over a grid."""

    function: types.FunctionType
    arrays: tuple[Any, ...]
    blocks: tuple[int, int, int]
    threads: int
    shared: int = 0


def cuda_sources(launch: Launch, translate: Translate, zeros: Zeros = np.zeros) -> list[CudaSource]:
    """A launch's CUDA functions over the translated words, one after another; `zeros` makes their scratch memory."""
    kernel = launch.kernel
    if isinstance(kernel, each):
        return [CudaSource(_cuda_launcher(launch, translate), tuple(launch.arrays), *_spread(launch))]
    grid: Grid | None = kernel.grid(launch.n, *launch.numbers)
    assert grid is not None
    scratch = [zeros((grid.scratch,), "float32")] if grid.scratch else []
    found = []
    while grid is not None:
        function = rebind(grid.kernel, translate)
        # What follows the leading arrays in the launch is the CPU twin's.
        taken = launch.arrays[: function.__code__.co_argcount - len(scratch)] + scratch
        found.append(CudaSource(function, tuple(taken), grid.blocks, grid.threads, grid.shared))
        grid = grid.then
    return found


def _spread(launch: Launch) -> tuple[tuple[int, int, int], int]:
    items = launch.n * (launch.m or 1)
    assert items < 2**31, f"{launch.kernel.name} has {items} items; a CUDA launch counts them in 31 bits"
    return (-(-items // THREADS_PER_BLOCK), 1, 1), THREADS_PER_BLOCK


def _cuda_launcher(launch: Launch, translate: Translate) -> types.FunctionType:
    """The function that runs a body once per thread, with every number baked in as a constant."""
    assert isinstance(launch.kernel, each)
    body, name = launch.kernel.body, "on_cuda"
    numbers = {f"n{k}": _constant(a, translate) for k, a in enumerate(launch.args) if isinstance(a, int | float)}
    arguments = [f"n{k}" if f"n{k}" in numbers else f"a{k}" for k in range(len(launch.args))]
    text = _CUDA_LAUNCHER.format(
        name=name, pointers=", ".join(a for a in arguments if a not in numbers), threads=THREADS_PER_BLOCK,
        items=launch.n * (launch.m or 1), index="item" if launch.m is None else _CUDA_INDEX.format(m=launch.m),
        arguments=", ".join(arguments),
    )  # fmt: skip
    words = {word: translate(getattr(np, word)) for word in ("int32", "uint32")}
    scope = {"__name__": __name__, "cuda": translate(cuda), "body": translate(device(body)), **words, **numbers}
    return write(text, name, scope, body.__code__.co_filename)


def _constant(number: int | float, translate: Translate) -> Any:
    if isinstance(number, float):
        return translate(np.float32)(number)
    return translate(np.int32 if -(2**31) <= number < 2**31 else np.int64)(number)


@cache
def fingerprint() -> str:
    """A hash over every kernel source file: compiled code is only ever reused for exactly this source."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
