"""Where arrays live and programs run: what a backend is, and the CPU's. The GPU's is `kernels.gpu`."""

from __future__ import annotations

import abc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kernels.launch import Launch

PARALLEL_WORK = 200_000
"""Operations below which a launch stays on one thread: a parallel region costs about 50 µs to open and close."""

ALIGNMENT = 64


class BackendUnavailable(RuntimeError):
    """The device asked for is not on this machine."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the device's memory: all of it, and what is free now."""

    total: int
    free: int


class Program(abc.ABC):
    """A list of launches, made ready once and run many times."""

    @abc.abstractmethod
    def run(self, steps: int = 1) -> None:
        """Run all launches in order, `steps` times over. Returns when the host may read the arrays."""


class Backend(abc.ABC):
    """One device: arrays and programs."""

    name: str

    @abc.abstractmethod
    def zeros(self, shape: tuple[int, ...], dtype: str = "float32") -> Any:
        """A new array of zeros, contiguous and 64-byte aligned."""

    @abc.abstractmethod
    def put(self, array: Any, values: np.ndarray[Any, Any]) -> None:
        """Copy host values into a device array of the same shape."""

    @abc.abstractmethod
    def get(self, array: Any) -> np.ndarray[Any, Any]:
        """A host copy of a device array."""

    @abc.abstractmethod
    def program(self, launches: Sequence[Launch]) -> Program:
        """Make launches ready to run: compile what is new, bind every argument."""

    @abc.abstractmethod
    def memory(self) -> Memory:
        """Total and free memory of the device."""

    def array(self, values: np.ndarray[Any, Any]) -> Any:
        """A device copy of host values."""
        made = self.zeros(values.shape, values.dtype.name)
        self.put(made, values)
        return made


@final
class CpuBackend(Backend):
    """NumPy arrays, kernels compiled for this processor, one interpreter over a table of calls."""

    def __init__(self, threads: int = 1) -> None:
        self.name, self.threads = "cpu", max(1, threads)

    def zeros(self, shape: tuple[int, ...], dtype: str = "float32") -> Any:
        """A new array of zeros, contiguous and 64-byte aligned."""
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        raw = np.zeros(count + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + count].view(dtype).reshape(shape)

    def put(self, array: Any, values: np.ndarray[Any, Any]) -> None:
        """Copy host values into a device array of the same shape."""
        array[...] = values

    def get(self, array: Any) -> np.ndarray[Any, Any]:
        """A host copy of a device array."""
        return np.array(array)

    def program(self, launches: Sequence[Launch]) -> Program:
        """Make launches ready to run: compile what is new, bind every argument."""
        return _CpuProgram(launches, self)

    def memory(self) -> Memory:
        """Total and available memory of the machine, in bytes."""
        page = os.sysconf("SC_PAGE_SIZE")
        return Memory(os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page)


@final
class _CpuProgram(Program):
    def __init__(self, launches: Sequence[Launch], backend: CpuBackend) -> None:
        from kernels import compiler, interpreter

        self._launches = tuple(launches)
        self._rows = [_row(launch) for launch in launches]
        self._table = np.zeros((len(launches), 4), np.int64)
        for k, launch in enumerate(launches):
            parts = min(backend.threads, launch.n) if launch.n * launch.work > PARALLEL_WORK else 1
            self._table[k] = compiler.cpu_address(launch), self._rows[k].ctypes.data, launch.n, max(1, parts)
        # 4 KiB apart, so that two threads never share a page of scratch.
        self._stride = -(-max((launch.scratch for launch in launches), default=0) * 8 // 4096) * 4096
        parallel = bool((self._table[:, 3] > 1).any())
        self._scratch = backend.zeros((self._stride * (backend.threads if parallel else 1),), "uint8")
        self._run = interpreter.run_parallel() if parallel else interpreter.run_serial
        if parallel:
            interpreter.use_threads(backend.threads)

    def run(self, steps: int = 1) -> None:
        """Run all launches in order, `steps` times over."""
        self._run(self._table, steps, self._scratch.ctypes.data, self._stride)


def _row(launch: Launch) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A launch's arguments as int64: addresses, integers, and floats by their float64 bits."""
    words = [] if launch.m is None else [launch.m]
    for argument in launch.args:
        if isinstance(argument, bool | int):
            words.append(int(argument))
        elif isinstance(argument, float):
            words.append(int(np.float64(argument).view(np.int64)))
        else:
            assert argument.flags.c_contiguous, f"{launch.kernel.name} was given an array that is not contiguous"
            words.append(argument.ctypes.data)
    return np.array(words, np.int64)


def open_backend(device: str, threads: int = 1) -> Backend:
    """`cpu`, or `gpu:0`: raises BackendUnavailable with what is missing."""
    if device == "cpu":
        return CpuBackend(threads)
    from kernels.gpu import CudaBackend

    return CudaBackend(int(device.partition(":")[2] or 0))
