"""The words of CUDA kernels, spoken by the simulator: `cuda`, the 128-bit accesses, `np` and `math`.

Numbers follow Numba's rules. Integers are Python's: Numba promotes int32 arithmetic to 64 bits, and a cast wraps.
Floats are NumPy's float32, and so is what the functions of `math` return for them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, final

import numpy as np

from kernels.simulator_memory import Cells, Integer, SimulationError, Values, poisoned

Lanes = dict[int, Any]
FULL = 0xFFFFFFFF


class Machine(Protocol):
    """What the words need of the simulator."""

    def wait(self, kind: str, place: Any, mask: int, value: Any, combine: Callable[[Lanes], Lanes]) -> Any:
        """Stop the running thread until its block (or its warp) is here too; its part of the combined values."""

    def shared_array(self, shape: int | tuple[int, ...], dtype: Any) -> Cells:
        """The running block's next shared array."""

    @property
    def lane(self) -> int:
        """The running thread's place in its warp."""


@final
class Dim3:
    """threadIdx, blockIdx, blockDim, gridDim."""

    __slots__ = ("x", "y", "z")

    def __init__(self, x: int = 0, y: int = 0, z: int = 0) -> None:
        self.x, self.y, self.z = x, y, z


@final
class NumPyWords:
    """NumPy inside a kernel: integer types are wrapping casts, all else is NumPy's."""

    def __getattr__(self, name: str) -> Any:
        vars(self)[name] = translate_number(getattr(np, name))
        return vars(self)[name]


@final
class MathWords:
    """`math` inside a kernel: float32 in, float32 out; infinity and NaN instead of exceptions."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, _NUMPY_NAMES.get(name, name), None) or getattr(math, name)
        if not callable(function):
            return function

        def call(*values: Any) -> Any:
            result = function(*values)
            floats = [v for v in values if isinstance(v, float | np.floating)]
            if floats and all(isinstance(v, np.float32) for v in floats) and isinstance(result, float | np.floating):
                return np.float32(result)
            return result

        vars(self)[name] = call
        return call


_NUMPY_NAMES = {
    "pow": "power", "atan": "arctan", "asin": "arcsin", "acos": "arccos", "atan2": "arctan2", "asinh": "arcsinh",
    "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip
_TYPES = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
_INTEGERS: dict[Any, Integer] = {kind: Integer(kind) for kind in _TYPES}


def translate_number(value: Any) -> Any:
    """Integer types become casts and NumPy's integers Python's; anything else stays."""
    if isinstance(value, type):
        return _INTEGERS.get(value, value)
    return int(value) if isinstance(value, np.integer) else value


@final
class _Shared:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def array(self, shape: int | tuple[int, ...], dtype: Any, alignment: int | None = None) -> Cells:
        """An array that the threads of the block share; shape 0 means the launch's dynamic bytes."""
        return self._machine.shared_array(shape, dtype)


@final
class _Local:
    def array(self, shape: int | tuple[int, ...], dtype: Any, alignment: int | None = None) -> Values:
        """An array of the running thread alone, unwritten."""
        return poisoned(shape, dtype).reshape(shape)


@final
class _Atomic:
    """Atomics on integers. On floats they are refused: their order, and so the bits of a sum, would be chance."""

    def add(self, array: Cells, index: Any, value: int) -> Any:
        """array[index] += value; the old value."""
        return _exchange(array, index, lambda old: old + value)

    def max(self, array: Cells, index: Any, value: int) -> Any:
        """array[index] = max(array[index], value); the old value."""
        return _exchange(array, index, lambda old: max(old, value))

    def min(self, array: Cells, index: Any, value: int) -> Any:
        """array[index] = min(array[index], value); the old value."""
        return _exchange(array, index, lambda old: min(old, value))

    def exch(self, array: Cells, index: Any, value: int) -> Any:
        """array[index] = value; the old value."""
        return _exchange(array, index, lambda old: value)

    def cas(self, array: Cells, index: Any, expected: int, value: int) -> Any:
        """array[index] = value where it is `expected`; the old value."""
        return _exchange(array, index, lambda old: value if old == expected else old)


def _exchange(array: Cells, index: Any, change: Callable[[int], int]) -> Any:
    if array.values.dtype.kind == "f":
        raise SimulationError(f"a float atomic on {array.name}: the order of the additions would be chance")
    return array.exchange(index, change)


@final
class CudaWords:
    """`numba.cuda` as far as kernels here may use it; any other word is refused by name."""

    warpsize = 32

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.threadIdx, self.blockIdx, self.blockDim, self.gridDim = Dim3(), Dim3(), Dim3(), Dim3()
        self.shared, self.local, self.atomic = _Shared(machine), _Local(), _Atomic()

    def __getattr__(self, name: str) -> NoReturn:
        raise SimulationError(f"the simulator does not know cuda.{name}")

    @property
    def laneid(self) -> int:
        """The thread's place in its warp."""
        return self._machine.lane

    def grid(self, axes: int) -> Any:
        """The thread's place in the whole grid, by axis."""
        return self._axes(axes, lambda t, b, size, _: b * size + t)

    def gridsize(self, axes: int) -> Any:
        """Threads of the whole grid, by axis."""
        return self._axes(axes, lambda _t, _b, size, count: size * count)

    def _axes(self, axes: int, formula: Callable[[int, int, int, int], int]) -> Any:
        words = (self.threadIdx, self.blockIdx, self.blockDim, self.gridDim)
        places = tuple(formula(*(getattr(word, axis) for word in words)) for axis in "xyz"[:axes])
        return places[0] if axes == 1 else places

    def syncthreads(self) -> None:
        """Wait for the whole block."""
        self._machine.wait("barrier", _caller(), FULL, None, lambda lanes: lanes)

    def syncthreads_count(self, predicate: Any) -> int:
        """Wait for the whole block; how many threads hold the predicate true."""
        return int(self._block(predicate, sum))

    def syncthreads_and(self, predicate: Any) -> int:
        """Wait for the whole block; whether all threads hold the predicate true."""
        return int(self._block(predicate, all))

    def syncthreads_or(self, predicate: Any) -> int:
        """Wait for the whole block; whether any thread holds the predicate true."""
        return int(self._block(predicate, any))

    def _block(self, predicate: Any, total: Callable[[list[bool]], Any]) -> Any:
        return self._machine.wait("barrier", _caller(2), FULL, bool(predicate), lambda lanes: _all(lanes, total))

    def threadfence(self) -> None:
        """Memory is always coherent here."""

    threadfence_block = threadfence_system = threadfence

    def syncwarp(self, mask: int = FULL) -> None:
        """Wait for the lanes of the mask."""
        self._machine.wait("warp barrier", _caller(), mask, None, lambda lanes: lanes)

    def shfl_sync(self, mask: int, value: Any, lane: int) -> Any:
        """The value of another lane."""
        return self._shuffle(mask, value, lambda _: lane % 32)

    def shfl_up_sync(self, mask: int, value: Any, delta: int) -> Any:
        """The value of the lane `delta` below; one's own where there is none."""
        return self._shuffle(mask, value, lambda own: own - delta if own >= delta else own)

    def shfl_down_sync(self, mask: int, value: Any, delta: int) -> Any:
        """The value of the lane `delta` above; one's own where there is none."""
        return self._shuffle(mask, value, lambda own: own + delta if own + delta < 32 else own)

    def shfl_xor_sync(self, mask: int, value: Any, bits: int) -> Any:
        """The value of the lane whose number differs in these bits."""
        return self._shuffle(mask, value, lambda own: own ^ bits)

    def _shuffle(self, mask: int, value: Any, source: Callable[[int], int]) -> Any:
        asked = source(self._machine.lane)
        lanes = self._machine.wait("shuffle", _caller(2), mask, value, _everything)
        if asked not in lanes:
            raise SimulationError(f"a shuffle reads lane {asked}, which does not take part")
        return lanes[asked]

    def ballot_sync(self, mask: int, predicate: Any) -> int:
        """The lanes of the mask that hold the predicate true, as bits."""
        return int(self._vote(mask, predicate, lambda lanes: sum(1 << lane for lane, true in lanes.items() if true)))

    def all_sync(self, mask: int, predicate: Any) -> bool:
        """Whether all lanes of the mask hold the predicate true."""
        return bool(self._vote(mask, predicate, lambda lanes: all(lanes.values())))

    def any_sync(self, mask: int, predicate: Any) -> bool:
        """Whether any lane of the mask holds the predicate true."""
        return bool(self._vote(mask, predicate, lambda lanes: any(lanes.values())))

    def _vote(self, mask: int, predicate: Any, total: Callable[[Lanes], Any]) -> Any:
        combine: Callable[[Lanes], Lanes] = lambda lanes: dict.fromkeys(lanes, total(lanes))  # noqa: E731
        return self._machine.wait("vote", _caller(2), mask, bool(predicate), combine)

    def popc(self, value: int) -> int:
        """Bits set in a 32-bit word."""
        return (value & FULL).bit_count()

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a·b + c, rounded once."""
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))

    def selp(self, condition: Any, a: Any, b: Any) -> Any:
        """a where the condition holds, else b."""
        return a if condition else b


def _everything(lanes: Lanes) -> Lanes:
    return {lane: dict(lanes) for lane in lanes}


def _all(lanes: Lanes, total: Callable[[list[bool]], Any]) -> Lanes:
    return dict.fromkeys(lanes, total(list(lanes.values())))


def _caller(depth: int = 1) -> tuple[str, int]:
    """The file and instruction from which a kernel called a word: two branches of one `if` differ in it."""
    frame = sys._getframe(depth + 1)
    return f"{frame.f_code.co_name}, line {frame.f_lineno}", frame.f_lasti


def load4(source: Cells, index: int) -> tuple[Any, ...]:
    """Four floats from element `index` of a global array on."""
    place = source.four(index)
    return source.fetch(place), source.fetch(place + 1), source.fetch(place + 2), source.fetch(place + 3)


def store4(target: Cells, index: int, *values: Any) -> None:
    """Write four floats from element `index` of a global array on."""
    place = target.four(index)
    for k, value in enumerate(values):
        target.keep(place + k, value)


def tile4(tile: Cells, i: int, j: int, k: int) -> tuple[Any, ...]:
    """Four floats tile[i, j, k : k + 4] of a shared array."""
    place = tile.four((i, j, k))
    return tile.fetch(place), tile.fetch(place + 1), tile.fetch(place + 2), tile.fetch(place + 3)


def put4(tile: Cells, i: int, j: int, k: int, *values: Any) -> None:
    """Write four floats to tile[i, j, k : k + 4] of a shared array."""
    place = tile.four((i, j, k))
    for e, value in enumerate(values):
        tile.keep(place + e, value)


WIDE: dict[str, Callable[..., Any]] = {"load4": load4, "store4": store4, "tile4": tile4, "put4": put4}
"""The simulator's words for those of `kernels.wide`."""
