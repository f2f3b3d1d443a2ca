"""The GPU backend's host side, on a fake driver: memory, binding, capture, replay, and what it says when it cannot."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from kernels.backend import BackendUnavailable, CpuBackend, open_backend
from kernels.launch import Launch, each
from kernels.reduce import column_sums
from tests.kernels.fake_gpu import FakeGpu


@each
def grow(i: int, x: Any, y: Any, rate: Any) -> None:
    """y += rate · x."""
    y[i] += rate * x[i]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    made = FakeGpu()
    made.install(monkeypatch)
    return made


def bound(backend: Any) -> tuple[Any, Any, list[Launch]]:
    """Two launches over a few arrays: one of `each`, one of a grid."""
    x = backend.array(np.arange(300, dtype=np.float32).reshape(100, 3))
    y, total = backend.zeros((100, 3)), backend.zeros((3,))
    return y, total, [grow.over(300, x, y, 0.5), column_sums(y, total, 100, 3)]


def test_a_program_computes_the_same_as_on_the_cpu_however_its_steps_are_cut(gpu: FakeGpu) -> None:
    found = []
    for backend in (CpuBackend(), open_backend("gpu:0")):
        y, total, launches = bound(backend)
        program = backend.program(launches)
        for steps in (1, 3, 2):
            program.run(steps)
        found.append((backend.get(y), backend.get(total)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-6)


def test_the_first_step_is_launched_the_second_captured_and_all_later_ones_replayed(gpu: FakeGpu) -> None:
    backend = open_backend("gpu:0")
    program = backend.program(bound(backend)[2])
    gpu.asked.clear()
    program.run(1)
    program.run(3)
    program.run(1)
    first, second, third = ["launch", "launch"], ["capture", "replay", "replay", "replay"], ["replay"]
    assert gpu.asked == [*first, "synchronize", *second, "synchronize", *third, "synchronize"]


def test_a_kernel_is_compiled_for_this_gpu_and_loaded_once(gpu: FakeGpu) -> None:
    backend = open_backend("gpu:0")
    for _ in range(2):
        backend.program(bound(backend)[2])
    assert [asked for asked in gpu.asked if asked.startswith("compile")] == ["compile for (9, 0, 'a')"] * 2


def test_views_of_one_buffer_are_bound_by_their_own_addresses(gpu: FakeGpu) -> None:
    backend = open_backend("gpu:0")
    flat, x = backend.zeros((32,)), backend.array(np.ones(16, np.float32))
    backend.program([grow.over(16, x, flat[16:], 2.0)]).run()
    assert backend.get(flat).tolist() == [0] * 16 + [2] * 16


def test_an_empty_program_does_nothing(gpu: FakeGpu) -> None:
    gpu.asked.clear()
    open_backend("gpu:0").program([]).run(5)
    assert gpu.asked == ["use", "set_current"]


def test_host_values_of_any_layout_and_width_arrive_as_the_array_wants_them(gpu: FakeGpu) -> None:
    backend = open_backend("gpu:0")
    array = backend.zeros((3, 2))
    backend.put(array, np.arange(6.0).reshape(2, 3).T)
    assert backend.get(array).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert backend.get(array).dtype == np.float32


def test_memory_is_total_and_free(gpu: FakeGpu) -> None:
    memory = open_backend("gpu:0").memory()
    assert (memory.total, memory.free) == (1 << 21, 1 << 20)


def test_no_room_on_the_gpu_is_a_memory_error_that_says_for_what(gpu: FakeGpu) -> None:
    with pytest.raises(MemoryError, match=r"no room for \(1000000,\) float32"):
        open_backend("gpu:0").zeros((1_000_000,))


def test_a_grid_refuses_an_array_that_does_not_start_at_sixteen_bytes(gpu: FakeGpu) -> None:
    backend = open_backend("gpu:0")
    flat, total = backend.zeros((40,)), backend.zeros((3,))
    with pytest.raises(AssertionError, match="16 bytes"):
        backend.program([column_sums(flat[1:31], total, 10, 3)])


def test_without_cupy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendUnavailable, match=r"cupy cannot be imported .*trainyard\[cuda13\]"):
        open_backend("gpu:0")


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (FakeGpu(driver=False), "no usable NVIDIA driver on this machine: cudaErrorInsufficientDriver"),
        (FakeGpu(count=2), "GPU 2 was asked for; this machine has 2, numbered from 0"),
        (FakeGpu(count=3, capability="61"), r"compute capability 6\.1; 7\.5 \(Turing\) or newer"),
    ],
    ids=["no driver", "too few", "too old"],
)
def test_a_gpu_that_cannot_be_used_says_why(machine: FakeGpu, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install(monkeypatch)
    with pytest.raises(BackendUnavailable, match=message):
        open_backend("gpu:2")


@pytest.mark.parametrize(("capability", "target"), [("75", (7, 5, "")), ("89", (8, 9, "")), ("120", (12, 0, ""))])
def test_every_generation_gets_its_own_machine_code(
    capability: str, target: tuple[int, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = FakeGpu(capability=capability)
    machine.install(monkeypatch)
    assert open_backend("gpu:0").target == target  # type: ignore[attr-defined]
