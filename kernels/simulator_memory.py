"""Memory of the simulated device: checked indices, checked alignment, and who touched which element when."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


class SimulationError(RuntimeError):
    """A kernel did what a GPU would punish with wrong numbers, a hang or a fault."""


@final
class Race(SimulationError):
    """Two threads touched one element, one of them writing, and no barrier ordered them."""


@final
class Misaligned(SimulationError):
    """A 128-bit access at an address that is not a multiple of 16."""


@final
class Stamp(NamedTuple):
    """A moment in the life of a thread: how many barriers of its block and of its warp lie behind it."""

    thread: int
    warp: int = -1
    block: int = -1
    barriers: int = 0
    warp_barriers: int = 0

    def precedes(self, other: Stamp) -> bool:
        """Whether what happened at this moment is done, for certain, at the other."""
        if self.thread == other.thread:
            return True
        if self.block != other.block:
            return False
        behind_warp = self.warp == other.warp and self.warp_barriers < other.warp_barriers
        return self.barriers < other.barriers or behind_warp

    def covers(self, other: Stamp) -> bool:
        """Whether this stands for a crowd of readers to which the other would add nothing."""
        return self.warp == CROWD and self.block == other.block and self.barriers == other.barriers


CROWD = -2
"""In place of a thread, warp or block: several of them."""

NOBODY = Stamp(-1)


@final
@dataclass(slots=True)
class Clock:
    """The moment at which the running thread is."""

    now: Stamp = NOBODY


@final
@dataclass(slots=True)
class AccessLog:
    """The last writer and the last readers of every element touched in one launch (or by one block, for shared)."""

    clock: Clock
    writes: dict[int, Stamp] = field(default_factory=dict)
    reads: dict[int, Stamp] = field(default_factory=dict)

    def read(self, address: int) -> Stamp | None:
        """Note a read; returns an earlier write that no barrier separates from it."""
        now = self.clock.now
        last = self.reads.get(address)
        if last is not now and not (last is not None and last.covers(now)):
            self.reads[address] = now if last is None or last.precedes(now) else _together(last, now)
        wrote = self.writes.get(address)
        return None if wrote is None or wrote is now or wrote.precedes(now) else wrote

    def write(self, address: int) -> Stamp | None:
        """Note a write; returns an earlier access by another thread that no barrier separates from it."""
        now = self.clock.now
        for log in (self.writes, self.reads):
            last = log.get(address)
            if last is not None and last is not now and not last.precedes(now):
                return last
        self.writes[address] = now
        return None


def _together(one: Stamp, other: Stamp) -> Stamp:
    """Readers of one moment as a single stamp, which precedes only what both precede."""
    warp = one.warp if one.warp == other.warp else CROWD
    block = one.block if one.block == other.block else CROWD
    latest = max(one.barriers, other.barriers), max(one.warp_barriers, other.warp_barriers)
    return Stamp(CROWD, warp, block, *latest)


@final
class Integer:
    """np.int32 and its kin: a cast that wraps, giving a Python integer."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._low, self._span = int(np.iinfo(self.dtype).min), 1 << self.dtype.itemsize * 8

    def __call__(self, value: Any = 0) -> int:
        """The value, its surplus high bits dropped."""
        return (int(value) - self._low) % self._span + self._low


@final
class Cells:
    """An array as a kernel sees it: flat, or of a constant shape where it lies in shared memory.

    Indices are checked, negative ones too; integers come out as Python's, as wide as Numba's promotion makes them.
    """

    __slots__ = ("_address", "_flat", "_integer", "_stride", "log", "name", "shape", "size", "values")

    def __init__(self, values: Values, name: str, log: AccessLog, shape: tuple[int, ...] | None = None) -> None:
        self.values, self.name, self.log, self.size = values, name, log, values.size
        self.shape = shape or (values.size,)
        self._address, self._stride, self._flat = values.ctypes.data, values.itemsize, len(self.shape) == 1
        self._integer = Integer(values.dtype) if values.dtype.kind in "iu" else None

    def __getitem__(self, key: int | tuple[int, ...]) -> Any:
        return self.fetch(key if key.__class__ is int and self._flat and 0 <= key < self.size else self.place(key))

    def __setitem__(self, key: int | tuple[int, ...], value: Any) -> None:
        place = key if key.__class__ is int and self._flat and 0 <= key < self.size else self.place(key)
        self.keep(place, value)

    def fetch(self, place: int) -> Any:
        """The element at a flat place that is known to lie inside."""
        other = self.log.read(self._address + place * self._stride)
        if other is not None:
            self._report("reads", place, "wrote", other)
        value = self.values[place]
        return int(value) if self._integer else value

    def keep(self, place: int, value: Any) -> None:
        """Write the element at a flat place that is known to lie inside."""
        other = self.log.write(self._address + place * self._stride)
        if other is not None:
            self._report("writes", place, "touched", other)
        self.values[place] = self._integer(value) if self._integer else value

    def place(self, key: int | tuple[int, ...]) -> int:
        """The flat place of an index; raises IndexError beyond the array and TypeError where it is no integer."""
        indices: Any = key if key.__class__ is tuple else (key,)
        place = 0
        try:
            for index, length in zip(indices, self.shape, strict=True):
                if not 0 <= index < length:
                    raise IndexError(f"{self.name}{list(indices)} lies outside its shape {self.shape}")
                place = place * length + operator.index(index)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{self.name} of shape {self.shape} is indexed with {key!r}") from error
        return place

    def four(self, key: int | tuple[int, ...]) -> int:
        """The flat place of the first of four neighbours that one 128-bit access may touch."""
        place = self.place(key)
        address = self._address + place * self._stride
        if address % 16:
            raise Misaligned(f"a 128-bit access to {self.name} at {key}: its address is {address % 16} beyond 16 bytes")
        if place % self.shape[-1] + 4 > self.shape[-1]:
            raise IndexError(f"a 128-bit access to {self.name} at {key} passes the end of its row {self.shape}")
        return place

    def exchange(self, key: int | tuple[int, ...], change: Any) -> Any:
        """An atomic: the old value, after change(old) took its place. Atomics do not race with each other."""
        place = self.place(key)
        old = int(self.values[place])
        self.values[place] = Integer(self.values.dtype)(change(old))
        return old

    def _report(self, verb: str, place: int, did: str, other: Stamp) -> None:
        now, index = self.log.clock.now, [int(i) for i in np.unravel_index(place, self.shape)]
        who = "other threads" if other.thread == CROWD else f"thread {other.thread}"
        raise Race(f"thread {now.thread} {verb} {self.name}{index}, which {who} {did} with no barrier between")


def poisoned(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Values:
    """Unwritten memory: NaN, or 0x5A bytes in integers; aligned to 16 bytes."""
    kind = np.dtype(dtype)
    count = math.prod(shape) if isinstance(shape, tuple) else int(shape)
    raw = np.full(count * kind.itemsize + 16, 0x5A, np.uint8)
    start = -raw.ctypes.data % 16
    values = raw[start : start + count * kind.itemsize].view(kind)
    if kind.kind == "f":
        values[...] = np.nan
    return values
