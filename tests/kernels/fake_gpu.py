"""A GPU that is not there: the few calls of CuPy and cuda.core that the backend makes, over host memory.

It stands for memory, streams, capture and launching, so that everything of `kernels.gpu` but the driver runs in a
test. What a launch computes is simulated from the launch that the fake compiler was asked to compile.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kernels import cuda_compiler
from kernels.cuda_compiler import Cubin, Target, cuda_key
from kernels.launch import Launch, pair
from kernels.simulator import Simulator

PAGE = 512
"""Alignment of what CuPy's pool hands out."""


class DriverMissing(RuntimeError):
    """Stands for CuPy's CUDARuntimeError."""


class OutOfMemoryError(MemoryError):
    """Stands for CuPy's error of that name."""


class DeviceArray(np.ndarray[Any, Any]):
    """Host memory that answers like a CuPy array."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        """As in CuPy: an object with the address."""
        return SimpleNamespace(ptr=self.ctypes.data)

    def set(self, values: Any, stream: Any) -> None:
        """Copy from the host; as strict as CuPy about shape and element type."""
        assert (values.shape, values.dtype) == (self.shape, self.dtype)
        np.copyto(self.view(np.ndarray), values)

    def get(self, stream: Any) -> Any:
        """A host copy."""
        return np.array(self.view(np.ndarray))


@dataclass
class Stream:
    """A stream; while it captures, launches are recorded instead of run."""

    non_blocking: bool = False
    ptr: int = 0x51
    recorded: list[Callable[[], None]] | None = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@dataclass
class FakeGpu:
    """The machine's one fake device and a protocol of what was asked of it."""

    count: int = 1
    capability: str = "90"
    driver: bool = True
    room: int = 1 << 20
    asked: list[str] = field(default_factory=list)
    _buffers: list[Any] = field(default_factory=list)
    _compiled: dict[bytes, tuple[Launch, int]] = field(default_factory=dict)
    _stream: Any = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the places of CuPy, cuda.core and the compiler until the test is over."""
        monkeypatch.setitem(sys.modules, "cupy", self._cupy())
        monkeypatch.setitem(sys.modules, "cuda.core", self._core())
        monkeypatch.setattr(cuda_compiler, "cubins", self._cubins)

    def _cupy(self) -> ModuleType:
        module = ModuleType("cupy")
        memory = SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
        runtime = SimpleNamespace(getDeviceCount=self._device_count)
        device = SimpleNamespace(
            compute_capability=self.capability, mem_info=(self.room, 1 << 21), use=lambda: self.asked.append("use")
        )
        vars(module).update(
            zeros=self._zeros,
            cuda=SimpleNamespace(runtime=runtime, memory=memory, Device=lambda index: device, Stream=self._open_stream),
        )
        return module

    def _core(self) -> ModuleType:
        module = ModuleType("cuda.core")
        vars(module).update(
            Device=lambda index: SimpleNamespace(set_current=lambda: self.asked.append("set_current")),
            Stream=SimpleNamespace(from_handle=lambda handle: handle),
            ObjectCode=SimpleNamespace(from_cubin=self._load),
            LaunchConfig=SimpleNamespace,
            launch=self._launch,
        )
        return module

    def _device_count(self) -> int:
        if not self.driver:
            raise DriverMissing("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
        return self.count

    def _zeros(self, shape: tuple[int, ...], dtype: str) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > self.room:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes")
        raw = np.zeros(size + PAGE, np.uint8)
        start = -raw.ctypes.data % PAGE
        self._buffers.append(raw[start : start + size])
        return raw[start : start + size].view(dtype).reshape(shape).view(DeviceArray)

    def _open_stream(self, non_blocking: bool) -> Any:
        stream: Any = Stream(non_blocking)
        stream.begin_capture = lambda: self._begin(stream)
        stream.end_capture = lambda: self._end(stream)
        stream.synchronize = lambda: self.asked.append("synchronize")
        self._stream = stream
        return stream

    def _begin(self, stream: Stream) -> None:
        self.asked.append("capture")
        stream.recorded = []

    def _end(self, stream: Stream) -> Any:
        recorded, stream.recorded = stream.recorded, None
        assert recorded is not None

        def replay(stream: Any) -> None:
            self.asked.append("replay")
            for work in recorded:
                work()

        return SimpleNamespace(launch=replay)

    def _cubins(self, launch: Launch, target: Target) -> list[Cubin]:
        self.asked.append(f"compile for {target}")
        codes = [f"{cuda_key(launch)} {k}".encode() for k in range(len(Simulator().sources(launch)))]
        self._compiled |= {code: (launch, k) for k, code in enumerate(codes)}
        return [Cubin("kernel", code, 0, 0, 0, 0, 0) for code in codes]

    def _load(self, code: bytes) -> Any:
        return SimpleNamespace(get_kernel=lambda name: self._compiled[code])

    def _launch(self, stream: int, config: Any, kernel: tuple[Launch, int], *addresses: int) -> None:
        assert stream == self._stream.ptr, "launched on another stream than the backend's"
        simulator, (launch, number) = Simulator(), kernel
        source = simulator.sources(launch)[number]
        assert (config.grid, config.block, config.shmem_size) == (source.blocks, source.threads, source.shared)
        arrays = tuple(self._at(a, like.dtype) for a, like in zip(addresses, source.arrays, strict=True))
        work = replace(source, arrays=arrays)

        def compute() -> None:
            simulator.run(work, isinstance(launch.kernel, pair))

        if self._stream.recorded is not None:
            self._stream.recorded.append(compute)
        else:
            self.asked.append("launch")
            compute()

    def _at(self, address: int, dtype: Any) -> Any:
        """The memory from an address to the end of its buffer."""
        for buffer in self._buffers:
            offset = address - buffer.ctypes.data
            if 0 <= offset < buffer.size:
                return buffer[offset:].view(dtype)
        raise AssertionError(f"no buffer holds the address {address:#x}")
