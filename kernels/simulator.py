"""Runs CUDA kernels on the CPU, one thread at a time and always in the same order: a test tool, no fallback.

It executes the very source that the CUDA compiler takes, over other words (`kernels.simulator_words`), and reports
what a GPU would punish later or not at all: indices outside an array, barriers that not every thread reaches,
two threads on one element without a barrier between them, misaligned wide accesses, writes beside a buffer.
Threads of a block that can wait are greenlets; bodies of `each` cannot, so they run in a plain loop.
It knows nothing of speed, of caches, of memory fences or of the rounding of a GPU's fused multiply-add.
"""

from __future__ import annotations

import inspect
import math
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from kernels.backend import ALIGNMENT, Backend, CpuBackend, Memory, Program
from kernels.launch import Deferred, Launch, device, each
from kernels.simulator_memory import AccessLog, Cells, Clock, SimulationError, Stamp, poisoned
from kernels.simulator_words import WIDE, CudaWords, Dim3, Lanes, MathWords, NumPyWords, translate_number
from kernels.source import CudaSource, Zeros, cuda_sources, rebind

STATIC_SHARED = 48 * 1024
"""Bytes of shared memory that a kernel may declare itself; more must be asked for with the launch."""

MAX_THREADS = 1024
GUARD = 0xA5
"""The byte around every buffer."""


@final
class Deadlock(SimulationError):
    """Threads of a block wait for different things and none can go on."""


@final
class Divergence(SimulationError):
    """A barrier was not reached by all threads of its block, or not at the same place."""


@final
class BrokenGuard(SimulationError):
    """Something was written beside a buffer."""


@final
@dataclass(slots=True)
class _Wait:
    kind: str
    place: Any
    mask: int
    value: Any
    combine: Callable[[Lanes], Lanes]


@final
@dataclass(slots=True, eq=False)
class _Thread:
    number: int
    stamp: Stamp
    greenlet: Any
    arrays: int = 0
    waits: _Wait | None = None
    answer: tuple[Any, ...] = ()

    @property
    def lane(self) -> int:
        return self.number % 32


@final
@dataclass(slots=True)
class _Block:
    threads: list[_Thread]
    log: AccessLog
    dynamic: Cells
    shared: list[Cells] = field(default_factory=list)


@final
class Simulator:
    """One simulated device: runs launches, in ascending or (`backwards`) descending order of threads and blocks."""

    def __init__(self, backwards: bool = False) -> None:
        self.backwards = backwards
        self._words, self._clock = CudaWords(self), Clock()
        self._numpy, self._math = NumPyWords(), MathWords()
        self._devices: dict[int, tuple[Any, Any]] = {}
        self._block: _Block | None = None
        self._thread: _Thread | None = None

    def sources(self, launch: Launch, zeros: Zeros = np.zeros) -> list[CudaSource]:
        """A launch's kernels in the simulator's words."""
        return cuda_sources(launch, self.translate, zeros)

    def translate(self, value: Any) -> Any:
        """What a name in a kernel's source means here."""
        if isinstance(value, Deferred):
            return self._deferred(value)
        if isinstance(value, device):
            if id(value) not in self._devices:
                self._devices[id(value)] = value, rebind(value.function, self.translate)
            return self._devices[id(value)][1]
        if isinstance(value, types.ModuleType):
            return {np: self._numpy, math: self._math}.get(value, value)
        return translate_number(value)

    def _deferred(self, value: Deferred) -> Any:
        if value.module == "numba.cuda" and value.name is None:
            return self._words
        if value.module == "kernels.wide" and value.name in WIDE:
            return WIDE[value.name]
        return value.resolve()

    def run(self, source: CudaSource, waits: bool = True) -> None:
        """Run one launch to its end. `waits`: its threads may wait for each other."""
        assert 0 < source.threads <= MAX_THREADS, f"a block of {source.threads} threads"
        log, names = AccessLog(self._clock), list(inspect.signature(source.function).parameters)
        arrays = [Cells(a.reshape(-1), name, log) for name, a in zip(names, source.arrays, strict=True)]
        self._words.blockDim, self._words.gridDim = Dim3(source.threads, 1, 1), Dim3(*source.blocks)
        with np.errstate(all="ignore"):
            for number, place in self._order(_places(source.blocks)):
                self._words.blockIdx = Dim3(*place)
                if waits:
                    self._run_block(source, number, arrays)
                else:
                    self._run_plainly(source, number, arrays)

    def _order(self, items: Iterable[Any]) -> Iterator[Any]:
        listed = list(enumerate(items))
        return reversed(listed) if self.backwards else iter(listed)

    def _run_plainly(self, source: CudaSource, block: int, arrays: list[Cells]) -> None:
        """Threads that cannot wait for each other, one after another."""
        self._block = self._thread = None
        for number, _ in self._order(range(source.threads)):
            self._words.threadIdx.x = number
            self._clock.now = Stamp(block * source.threads + number)
            source.function(*arrays)

    def _run_block(self, source: CudaSource, block: int, arrays: list[Cells]) -> None:
        """Threads of one block in turns: each runs until it waits, and goes on when those it waits for are there."""
        from greenlet import greenlet  # type: ignore[import-untyped]

        def started(number: int) -> _Thread:
            stamp = Stamp(block * source.threads + number, number // 32, block)
            return _Thread(number, stamp, greenlet(source.function), answer=tuple(arrays))

        threads = [started(number) for number, _ in self._order(range(source.threads))]
        log = AccessLog(self._clock)
        dynamic = Cells(poisoned(source.shared, np.uint8), "dynamic shared memory", log)
        self._block, ready = _Block(threads, log, dynamic), threads
        while threads:
            for thread in ready:
                self._resume(thread)
            threads = [thread for thread in threads if not thread.greenlet.dead]
            ready = self._released(threads, source.threads)
            if threads and not ready:
                raise Deadlock(_standstill(threads))

    def _resume(self, thread: _Thread) -> None:
        self._thread, self._clock.now, self._words.threadIdx.x = thread, thread.stamp, thread.number
        answer, thread.answer, thread.waits = thread.answer, (), None
        thread.greenlet.switch(*answer)

    def _released(self, threads: list[_Thread], size: int) -> list[_Thread]:
        """The threads whose wait is over, with their answers."""
        if threads and all(t.waits is not None and t.waits.kind == "barrier" for t in threads):
            return _pass_barrier(threads, size)
        released: list[_Thread] = []
        for thread in threads:
            if thread not in released:
                released += _pass_warp(thread, threads)
        return released

    def wait(self, kind: str, place: Any, mask: int, value: Any, combine: Callable[[Lanes], Lanes]) -> Any:
        """Stop the running thread until its block (or its warp) is here too; its part of the combined values."""
        if self._thread is None:
            raise SimulationError(f"a body of `each` waits at a {kind}; only the kernel of a grid may")
        if not mask >> self._thread.lane & 1:
            raise SimulationError(f"lane {self._thread.lane} takes part in a {kind} whose mask {mask:#x} lacks it")
        self._thread.waits = _Wait(kind, place, mask, value, combine)
        return self._thread.greenlet.parent.switch()

    @property
    def lane(self) -> int:
        """The running thread's place in its warp."""
        return self._thread.lane if self._thread else self._words.threadIdx.x % 32

    def shared_array(self, shape: int | tuple[int, ...], dtype: Any) -> Cells:
        """The running block's next shared array: arrays are told apart by the order in which threads ask."""
        if self._block is None or self._thread is None:
            raise SimulationError("a body of `each` has no shared memory; only the kernel of a grid has")
        kind = np.dtype(getattr(dtype, "dtype", dtype) if not isinstance(dtype, type) else dtype)
        if shape == 0:
            return Cells(self._block.dynamic.values.view(kind), "dynamic shared memory", self._block.log)
        axes = shape if isinstance(shape, tuple) else (shape,)
        place, self._thread.arrays = self._thread.arrays, self._thread.arrays + 1
        if place == len(self._block.shared):
            self._block.shared.append(Cells(poisoned(shape, kind), f"shared array {place}", self._block.log, axes))
            self._check_shared()
        found = self._block.shared[place]
        if found.shape != axes or found.values.dtype != kind:
            raise Divergence(f"threads of one block ask for different shared arrays: {found.shape} and {axes}")
        return found

    def _check_shared(self) -> None:
        assert self._block is not None
        taken = sum(cells.values.nbytes for cells in self._block.shared)
        if taken > STATIC_SHARED:
            raise SimulationError(f"{taken} bytes of shared arrays; a kernel may declare {STATIC_SHARED}")


def _places(blocks: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    return [(x, y, z) for z in range(blocks[2]) for y in range(blocks[1]) for x in range(blocks[0])]


def _pass_barrier(threads: list[_Thread], size: int) -> list[_Thread]:
    waits = {t.number: t.waits for t in threads if t.waits is not None}
    if len(waits) < size:
        raise Divergence(f"{len(waits)} threads wait at a barrier that {size - len(waits)} others never reach")
    places = {wait.place for wait in waits.values()}
    if len(places) > 1:
        raise Divergence(f"threads of one block wait at {len(places)} different barriers: {sorted(places)}")
    answers = next(iter(waits.values())).combine({number: wait.value for number, wait in waits.items()})
    for thread in threads:
        thread.answer = (answers[thread.number],)
        thread.stamp = thread.stamp._replace(barriers=thread.stamp.barriers + 1)
    return threads


def _pass_warp(thread: _Thread, threads: list[_Thread]) -> list[_Thread]:
    """The lanes that a thread waits for, if all of them that still run are here."""
    wait = thread.waits
    if wait is None or wait.kind == "barrier":
        return []
    lanes = [t for t in threads if t.number // 32 == thread.number // 32 and wait.mask >> t.lane & 1]
    if any(t.waits is None or (t.waits.kind, t.waits.mask) != (wait.kind, wait.mask) for t in lanes):
        return []
    answers = wait.combine({t.lane: t.waits.value for t in lanes if t.waits is not None})
    passed = max(t.stamp.warp_barriers for t in lanes) + (wait.kind == "warp barrier")
    for t in lanes:
        t.answer, t.stamp = (answers[t.lane],), t.stamp._replace(warp_barriers=passed)
    return lanes


def _standstill(threads: list[_Thread]) -> str:
    kinds = [t.waits.kind for t in threads if t.waits is not None]
    counts = ", ".join(f"{kinds.count(kind)} at a {kind}" for kind in sorted(set(kinds)))
    return f"none of the block's {len(threads)} threads can go on: {counts}"


@final
class SimulatedBackend(Backend):
    """NumPy arrays between guard words, and a simulated GPU that runs the launches over them."""

    def __init__(self, backwards: bool = False) -> None:
        self.name, self._simulator = "simulated", Simulator(backwards)
        self._fenced: list[tuple[weakref.ref[Any], int, int]] = []

    def zeros(self, shape: tuple[int, ...], dtype: str = "float32") -> Any:
        """A new array of zeros, contiguous and 64-byte aligned, with guard words before and behind it."""
        count = math.prod(shape) * np.dtype(dtype).itemsize
        raw = np.full(count + 3 * ALIGNMENT, GUARD, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT + ALIGNMENT
        inner = raw[start : start + count]
        inner[...] = 0
        self._fenced = [fenced for fenced in self._fenced if fenced[0]() is not None]
        self._fenced.append((weakref.ref(raw), start, start + count))
        return inner.view(dtype).reshape(shape)

    def scratch(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Unwritten memory for kernels that ask for some: NaN."""
        made = self.zeros(shape, dtype)
        made[...] = np.nan
        return made

    def put(self, array: Any, values: np.ndarray[Any, Any]) -> None:
        """Copy host values into a device array of the same shape."""
        array[...] = values

    def get(self, array: Any) -> np.ndarray[Any, Any]:
        """A host copy of a device array."""
        return np.array(array)

    def program(self, launches: Sequence[Launch]) -> Program:
        """Put the launches into the simulator's words."""
        return _SimulatedProgram(self, self._simulator, launches)

    def memory(self) -> Memory:
        """Total and available memory of the host."""
        return CpuBackend().memory()

    def check_guards(self) -> None:
        """Raise BrokenGuard if anything was written beside one of this backend's arrays."""
        for reference, start, end in self._fenced:
            raw = reference()
            if raw is not None and not (_intact(raw[:start]) and _intact(raw[end:])):
                raise BrokenGuard(f"something was written beside a buffer of {end - start} bytes")


def _intact(guard: Any) -> bool:
    return bool((guard == GUARD).all())


@final
class _SimulatedProgram(Program):
    def __init__(self, backend: SimulatedBackend, simulator: Simulator, launches: Sequence[Launch]) -> None:
        self._backend, self._simulator = backend, simulator
        self._sources = [
            (source, not isinstance(launch.kernel, each))
            for launch in launches
            for source in simulator.sources(launch, backend.scratch)
        ]

    def run(self, steps: int = 1) -> None:
        """Run all launches in order, `steps` times over, and look at the guards."""
        for _ in range(steps):
            for source, waits in self._sources:
                self._simulator.run(source, waits)
        self._backend.check_guards()
