"""One NVIDIA GPU as a backend: CuPy owns the memory, cuda.core launches, a CUDA graph replays a program.

The only file that imports CuPy and cuda.core, and only when a GPU is opened. Numba compiles the kernels
(`kernels.cuda_compiler`) but does not launch them: its own launch costs tens of microseconds of host time, cuda.core's
one or two, and a captured graph none. A process that opens a GPU must not fork afterwards.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kernels.backend import Backend, BackendUnavailable, Memory, Program
from kernels.launch import Launch
from kernels.source import CudaSource, cuda_sources

WIDEST_ACCESS = 16
"""Bytes that one access of a kernel may move; every array must start at a multiple of it."""

REMEDY = "install the CUDA packages: pip install 'trainyard[cuda13]' (or [cuda12] for an older driver)"


@final
@dataclass(frozen=True, slots=True)
class Bound:
    """One kernel ready to launch: configuration, kernel and addresses; `arrays` keeps alive what lies there."""

    call: tuple[Any, ...]
    arrays: tuple[Any, ...]


@final
class CudaBackend(Backend):
    """CuPy arrays on one GPU, one stream, kernels compiled for exactly this GPU."""

    def __init__(self, index: int = 0) -> None:
        self.name = f"gpu:{index}"
        self._cupy, self._core = _package("cupy"), _package("cuda.core")
        self._device = self._open(index)
        self.target = _target(self._device.compute_capability)
        self.stream = self._cupy.cuda.Stream(non_blocking=True)
        self.launch_stream = self._core.Stream.from_handle(self.stream.ptr)
        self._kernels: dict[str, list[Any]] = {}

    def _open(self, index: int) -> Any:
        try:
            count = self._cupy.cuda.runtime.getDeviceCount()
        except RuntimeError as error:
            raise BackendUnavailable(f"no usable NVIDIA driver on this machine: {error}") from error
        if not 0 <= index < count:
            raise BackendUnavailable(f"GPU {index} was asked for; this machine has {count}, numbered from 0")
        device = self._cupy.cuda.Device(index)
        device.use()
        # The same primary context, for the launcher.
        self._core.Device(index).set_current()
        return device

    def zeros(self, shape: tuple[int, ...], dtype: str = "float32") -> Any:
        """A new array of zeros, contiguous and aligned; MemoryError where the GPU has no room for it."""
        try:
            with self.stream:
                return self._cupy.zeros(shape, dtype)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise MemoryError(f"the GPU has no room for {shape} {dtype}: {error}") from error

    def put(self, array: Any, values: np.ndarray[Any, Any]) -> None:
        """Copy host values into a device array of the same shape."""
        array.set(np.ascontiguousarray(values, array.dtype).reshape(array.shape), stream=self.stream)
        # The caller may change its array as soon as this returns.
        self.stream.synchronize()

    def get(self, array: Any) -> np.ndarray[Any, Any]:
        """A host copy of a device array."""
        found: np.ndarray[Any, Any] = array.get(stream=self.stream)
        self.stream.synchronize()
        return found

    def program(self, launches: Sequence[Launch]) -> Program:
        """Make launches ready to run: compile what is new, bind every argument."""
        return _CudaProgram(self, launches)

    def memory(self) -> Memory:
        """Total and free memory of the GPU, in bytes."""
        free, total = self._device.mem_info
        return Memory(total, free)

    def bind(self, launch: Launch) -> list[Bound]:
        """A launch's kernels with all that cuda.core needs to launch them."""
        sources = cuda_sources(launch, lambda word: word, self.zeros)
        return [self._bind(launch, *pair) for pair in zip(sources, self._loaded(launch), strict=True)]

    def _bind(self, launch: Launch, source: CudaSource, kernel: Any) -> Bound:
        config = self._core.LaunchConfig(grid=source.blocks, block=source.threads, shmem_size=source.shared)
        addresses = tuple(_address(array, launch) for array in source.arrays)
        return Bound((config, kernel, *addresses), source.arrays)

    def _loaded(self, launch: Launch) -> list[Any]:
        from kernels import cuda_compiler

        key = cuda_compiler.cuda_key(launch)
        if key not in self._kernels:
            made = cuda_compiler.cubins(launch, self.target)
            self._kernels[key] = [self._core.ObjectCode.from_cubin(m.code).get_kernel(m.name) for m in made]
        return self._kernels[key]

    def launch(self, bound: Bound) -> None:
        """Put one bound kernel on the stream."""
        self._core.launch(self.launch_stream, *bound.call)


@final
class _CudaProgram(Program):
    """The first step runs launch by launch, so that all code is loaded; the second is captured, then replayed."""

    def __init__(self, backend: CudaBackend, launches: Sequence[Launch]) -> None:
        self._backend = backend
        self._bound = [bound for launch in launches for bound in backend.bind(launch)]
        self._warm = False
        self._graph: Any = None

    def run(self, steps: int = 1) -> None:
        """Run all launches in order, `steps` times over. Returns when the host may read the arrays."""
        if not self._bound:
            return
        stream = self._backend.stream
        for _ in range(steps):
            if self._warm:
                self._replay()
            else:
                self._launch_all()
                self._warm = True
        stream.synchronize()

    def _launch_all(self) -> None:
        for bound in self._bound:
            self._backend.launch(bound)

    def _replay(self) -> None:
        if self._graph is None:
            self._graph = self._captured()
        self._graph.launch(stream=self._backend.stream)

    def _captured(self) -> Any:
        stream = self._backend.stream
        with stream:
            stream.begin_capture()
            self._launch_all()
            return stream.end_capture()


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    # Broken CUDA packages raise whatever their loaders raise.
    except Exception as error:
        raise BackendUnavailable(f"{name} cannot be imported ({error}); {REMEDY}") from error


def _target(capability: str) -> tuple[int, int, str]:
    """`90` is (9, 0, "a"): Hopper's own instructions are in the architecture-specific target."""
    major, minor = int(capability[:-1]), int(capability[-1])
    if (major, minor) < (7, 5):
        raise BackendUnavailable(f"the GPU has compute capability {major}.{minor}; 7.5 (Turing) or newer is needed")
    return major, minor, "a" if (major, minor) == (9, 0) else ""


def _address(array: Any, launch: Launch) -> int:
    address = int(array.data.ptr)
    assert array.flags.c_contiguous, f"{launch.kernel.name} was given an array that is not contiguous"
    if hasattr(launch.kernel, "grid"):
        assert address % WIDEST_ACCESS == 0, f"{launch.kernel.name} was given an array that does not start at 16 bytes"
    return address
