"""The simulator computes what CUDA promises, and reports what CUDA would punish."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.launch import Deferred, Grid, cuda, each, pair
from kernels.simulator import BrokenGuard, Deadlock, Divergence, SimulatedBackend
from kernels.simulator_memory import Misaligned, Race, SimulationError

WARP = 0xFFFFFFFF
load4: Any = Deferred("kernels.wide", "load4")


def unused(begin: int, end: int, scratch: Any, *_: Any) -> None:
    """A grid on trial has no CPU twin."""


def simulate(kernel: Callable[..., None], *arrays: Any, threads: int = 64, blocks: int = 1, shared: int = 0) -> None:
    """Run a kernel over one axis of blocks, forwards and then backwards: no result may depend on the order."""
    grid = pair(unused, lambda _: Grid(kernel, (blocks, 1, 1), threads, shared))
    results = []
    for backwards in (False, True):
        backend = SimulatedBackend(backwards)
        bound = [backend.array(array) for array in arrays]
        backend.program([grid.over(1, *bound, work=1)]).run()
        results.append([backend.get(array) for array in bound])
    for array, forwards, reverse in zip(arrays, *results, strict=True):
        np.testing.assert_array_equal(forwards, reverse)
        array[...] = forwards


def floats(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).normal(size=count).astype(np.float32)


def run_each(body: Callable[..., None], items: int, *args: Any) -> None:
    """Run a body of `each`."""
    SimulatedBackend().program([each(body).over(items, *args)]).run()


def test_threads_of_a_block_share_an_array_and_meet_at_a_barrier() -> None:
    def reverse(x: Any, y: Any) -> None:
        tile = cuda.shared.array(64, np.float32)
        thread = np.int32(cuda.threadIdx.x)
        tile[thread] = x[cuda.blockIdx.x * 64 + thread]
        cuda.syncthreads()
        y[cuda.blockIdx.x * 64 + thread] = tile[63 - thread]

    x, y = floats(128), np.zeros(128, np.float32)
    simulate(reverse, x, y, blocks=2)
    np.testing.assert_array_equal(y, x.reshape(2, 64)[:, ::-1].ravel())


def test_shuffles_sum_a_warp() -> None:
    def total(x: Any, y: Any) -> None:
        value, step = x[cuda.threadIdx.x], 16
        while step > 0:
            value += cuda.shfl_down_sync(WARP, value, step)
            step //= 2
        if cuda.laneid == 0:
            y[cuda.threadIdx.x // 32] = value

    x, y = np.arange(64, dtype=np.float32), np.zeros(2, np.float32)
    simulate(total, x, y)
    assert y.tolist() == [x[:32].sum(), x[32:].sum()]


@pytest.mark.parametrize(
    ("word", "argument", "source"),
    [
        ("shfl_sync", 5, lambda lane: 5),
        ("shfl_up_sync", 3, lambda lane: lane - 3 if lane >= 3 else lane),
        ("shfl_down_sync", 3, lambda lane: lane + 3 if lane < 29 else lane),
        ("shfl_xor_sync", 6, lambda lane: lane ^ 6),
    ],
)
def test_each_shuffle_reads_the_lane_it_names(word: str, argument: int, source: Callable[[int], int]) -> None:
    def shuffle(x: Any, y: Any) -> None:
        y[cuda.threadIdx.x] = getattr(cuda, word)(WARP, x[cuda.threadIdx.x], argument)

    x, y = floats(32), np.zeros(32, np.float32)
    simulate(shuffle, x, y, threads=32)
    assert y.tolist() == [x[source(lane)] for lane in range(32)]


def test_votes_and_counting_barriers_see_every_thread() -> None:
    def vote(y: Any) -> None:
        odd = cuda.threadIdx.x % 2 == 1
        ballot = cuda.ballot_sync(WARP, odd)
        any_odd, all_odd, count = cuda.any_sync(WARP, odd), cuda.all_sync(WARP, odd), cuda.syncthreads_count(odd)
        if cuda.threadIdx.x == 0:
            y[0], y[1], y[2], y[3] = ballot, any_odd, all_odd, count
            y[4] = cuda.popc(ballot)

    y = np.zeros(5, np.int64)
    simulate(vote, y)
    assert y.tolist() == [0xAAAAAAAA, 1, 0, 32, 16]


def test_half_a_warp_may_shuffle_alone() -> None:
    def half(y: Any) -> None:
        if cuda.laneid < 16:
            y[cuda.laneid] = cuda.shfl_xor_sync(0xFFFF, cuda.laneid, 1)

    y = np.zeros(16, np.int32)
    simulate(half, y, threads=32)
    assert y.tolist() == [lane ^ 1 for lane in range(16)]


def test_integer_atomics_add_up_and_float_atomics_are_refused() -> None:
    def tally(x: Any, counts: Any) -> None:
        cuda.atomic.add(counts, x[cuda.threadIdx.x], 1)

    x, counts = np.arange(64, dtype=np.int32) % 3, np.zeros(3, np.int32)
    simulate(tally, x, counts)
    assert counts.tolist() == [22, 21, 21]
    with pytest.raises(SimulationError, match="float atomic"):
        simulate(tally, x, np.zeros(3, np.float32))


def test_dynamic_shared_memory_has_the_size_of_the_launch() -> None:
    def share(y: Any) -> None:
        tile = cuda.shared.array(0, np.float32)
        tile[cuda.threadIdx.x] = np.float32(cuda.threadIdx.x)
        cuda.syncthreads()
        y[cuda.threadIdx.x] = tile[63 - cuda.threadIdx.x]

    y = np.zeros(64, np.float32)
    simulate(share, y, shared=256)
    assert y[0] == 63
    with pytest.raises(IndexError, match="dynamic shared memory"):
        simulate(share, y, shared=252)


def test_memory_that_nobody_wrote_is_nan() -> None:
    def copy(y: Any) -> None:
        tile, own = cuda.shared.array(4, np.float32), cuda.local.array(4, np.float32)
        y[0], y[1] = tile[0], own[0]

    y = np.zeros(2, np.float32)
    simulate(copy, y, threads=1)
    assert np.isnan(y).all()


@pytest.mark.parametrize("index", [-1, 4, 1 << 40])
def test_an_index_outside_an_array_is_reported(index: int) -> None:
    def read(i: int, x: Any, y: Any, at: int) -> None:
        y[i] = x[at]

    def write(i: int, x: Any, y: Any, at: int) -> None:
        y[at] = x[i]

    backend = SimulatedBackend()
    x, y = backend.zeros((4,)), backend.zeros((4,))
    for body, name in ((read, "a0"), (write, "a1")):
        with pytest.raises(IndexError, match=name):
            run_each(body, 1, x, y, index)


def test_an_index_outside_a_shared_array_is_reported_though_its_flat_place_is_inside() -> None:
    def read(y: Any) -> None:
        tile = cuda.shared.array((2, 4), np.float32)
        y[0] = tile[0, 4]

    with pytest.raises(IndexError, match=r"\[0, 4\] lies outside its shape \(2, 4\)"):
        simulate(read, np.zeros(1, np.float32), threads=1)


def test_an_index_that_is_no_integer_is_refused() -> None:
    def read(i: int, x: Any, y: Any) -> None:
        y[i] = x[i / 2]

    backend = SimulatedBackend()
    with pytest.raises(TypeError, match=r"indexed with 0\.0"):
        run_each(read, 1, backend.zeros((4,)), backend.zeros((4,)))


def test_a_barrier_in_one_branch_is_reported() -> None:
    def branch(y: Any) -> None:
        if cuda.threadIdx.x < 32:
            cuda.syncthreads()

    with pytest.raises(Divergence, match="32 others never reach"):
        simulate(branch, np.zeros(1, np.float32))


def test_different_barriers_in_two_branches_are_reported() -> None:
    def branches(y: Any) -> None:
        if cuda.threadIdx.x < 32:
            cuda.syncthreads()
        else:
            cuda.syncthreads()

    with pytest.raises(Divergence, match="2 different barriers"):
        simulate(branches, np.zeros(1, np.float32))


def test_lanes_that_wait_for_each_other_for_ever_are_reported() -> None:
    def stuck(y: Any) -> None:
        if cuda.threadIdx.x % 32 == 0:
            cuda.syncthreads()
        else:
            cuda.syncwarp()

    with pytest.raises(Deadlock, match="2 at a barrier, 62 at a warp barrier"):
        simulate(stuck, np.zeros(1, np.float32))


def test_a_lane_outside_its_own_mask_is_reported() -> None:
    def lonely(y: Any) -> None:
        cuda.syncwarp(0xFFFF)

    with pytest.raises(SimulationError, match="lacks it"):
        simulate(lonely, np.zeros(1, np.float32), threads=32)


def neighbour(i: int, x: Any) -> None:
    """x[i] = x[i + 1]: item i reads what item i + 1 writes."""
    x[i] = x[i + 1]


def gather(i: int, x: Any, y: Any) -> None:
    """Every item writes the same element."""
    y[0] = x[i]


def scatter_then_read(i: int, x: Any, y: Any) -> None:
    """Item i reads what item i - 1 wrote."""
    y[i + 1] = x[i]
    x[i] = y[i]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("body", [neighbour, gather, scatter_then_read])
def test_two_items_on_one_element_are_reported(body: Callable[..., None], backwards: bool) -> None:
    backend = SimulatedBackend(backwards)
    arrays = [backend.zeros((5,)) for _ in range(body.__code__.co_argcount - 1)]
    with pytest.raises(Race, match="no barrier between"):
        backend.program([each(body).over(4, *arrays)]).run()


def test_items_may_read_one_element_and_write_their_own_twice() -> None:
    def scale(i: int, x: Any, y: Any) -> None:
        y[i] = x[0]
        y[i] *= x[1]

    backend = SimulatedBackend()
    x, y = backend.array(np.array([2, 3], np.float32)), backend.zeros((300,))
    run_each(scale, 300, x, y)
    assert (y == 6).all()


def test_two_views_of_one_buffer_are_one_memory() -> None:
    def shift(i: int, x: Any, y: Any) -> None:
        y[i] = x[i]

    backend = SimulatedBackend()
    buffer = backend.zeros((5,))
    with pytest.raises(Race):
        run_each(shift, 4, buffer[:4], buffer[1:])


def test_a_missing_barrier_around_shared_memory_is_reported() -> None:
    def careless(x: Any, y: Any) -> None:
        tile = cuda.shared.array(64, np.float32)
        tile[cuda.threadIdx.x] = x[cuda.threadIdx.x]
        y[cuda.threadIdx.x] = tile[cuda.threadIdx.x ^ 1]

    with pytest.raises(Race, match="shared array 0"):
        simulate(careless, floats(64), np.zeros(64, np.float32))


def test_a_tile_that_is_overwritten_while_others_still_read_it_is_reported() -> None:
    def careless(x: Any, y: Any) -> None:
        tile = cuda.shared.array(64, np.float32)
        for _ in range(2):
            tile[cuda.threadIdx.x] = x[cuda.threadIdx.x]
            cuda.syncthreads()
            y[cuda.threadIdx.x] = tile[cuda.threadIdx.x ^ 1]

    with pytest.raises(Race, match="shared array 0"):
        simulate(careless, floats(64), np.zeros(64, np.float32))


def test_a_warp_barrier_orders_its_warp_but_not_the_block() -> None:
    def exchange(x: Any, y: Any) -> None:
        tile = cuda.shared.array(64, np.float32)
        tile[cuda.threadIdx.x] = x[cuda.threadIdx.x]
        cuda.syncwarp()
        y[cuda.threadIdx.x] = tile[cuda.threadIdx.x ^ distance]

    distance, x, y = 1, floats(64), np.zeros(64, np.float32)
    simulate(exchange, x, y)
    assert y.tolist() == x.reshape(-1, 2)[:, ::-1].ravel().tolist()
    distance = 32
    with pytest.raises(Race):
        simulate(exchange, x, y)


def test_blocks_are_not_ordered_by_barriers() -> None:
    def pass_on(y: Any) -> None:
        y[0] = np.float32(1)
        cuda.syncthreads()

    with pytest.raises(Race):
        simulate(pass_on, np.zeros(1, np.float32), threads=1, blocks=2)


def test_a_wide_access_off_its_alignment_is_reported() -> None:
    def wide(x: Any, y: Any) -> None:
        y[0], y[1], y[2], y[3] = load4(x, start)

    start, x, y = 4, floats(12), np.zeros(4, np.float32)
    simulate(wide, x, y, threads=1)
    assert y.tolist() == x[4:8].tolist()
    start = 6
    with pytest.raises(Misaligned, match="8 beyond 16 bytes"):
        simulate(wide, x, y, threads=1)
    start = 12
    with pytest.raises(IndexError):
        simulate(wide, x, y, threads=1)


def test_something_written_beside_a_buffer_is_reported_after_the_program() -> None:
    backend = SimulatedBackend()
    y = backend.zeros((4,))
    y.base[y.ctypes.data - y.base.ctypes.data + y.nbytes] = 0
    with pytest.raises(BrokenGuard, match="a buffer of 16 bytes"):
        backend.program([]).run()


def test_bodies_of_each_can_neither_wait_nor_share() -> None:
    def waits(i: int, x: Any) -> None:
        cuda.syncthreads()

    def shares(i: int, x: Any) -> None:
        cuda.shared.array(4, np.float32)

    for body in (waits, shares):
        with pytest.raises(SimulationError, match="only the kernel of a grid"):
            run_each(body, 1, SimulatedBackend().zeros((1,)))


def test_too_much_shared_memory_is_reported() -> None:
    def greedy(y: Any) -> None:
        cuda.shared.array(12289, np.float32)

    with pytest.raises(SimulationError, match="49156 bytes"):
        simulate(greedy, np.zeros(1, np.float32), threads=1)


def test_unknown_words_are_refused_by_name() -> None:
    def strange(y: Any) -> None:
        cuda.nanosleep(5)

    with pytest.raises(SimulationError, match=r"cuda\.nanosleep"):
        simulate(strange, np.zeros(1, np.float32), threads=1)


def test_integers_are_as_wide_as_numbas_and_casts_wrap() -> None:
    def compute(i: int, x: Any, y: Any) -> None:
        y[0] = np.int32(x[0]) * np.int32(x[0])
        y[1] = np.int32(x[0] * x[0])
        y[2] = np.uint32(-1) + np.uint32(1)
        y[3] = np.uint64(np.uint32(x[0]) * np.uint32(x[0])) >> np.uint64(32)

    backend = SimulatedBackend()
    x, y = backend.array(np.array([2**31 - 1], np.int32)), backend.zeros((4,), "int64")
    run_each(compute, 1, x, y)
    square = (2**31 - 1) ** 2
    assert y.tolist() == [square, 1, 2**32, square >> 32]


def test_floats_stay_float32_through_arithmetic_and_math() -> None:
    def compute(i: int, x: Any, y: Any, half: Any) -> None:
        value = x[i] * half + np.float32(3)
        for result in (value, math.exp(value), math.pow(value, half), math.erf(value), np.sqrt(value)):
            assert isinstance(result, np.float32)
        y[i] = math.exp(value)

    backend = SimulatedBackend()
    x, y = backend.array(np.array([1, 1000, -1000], np.float32)), backend.zeros((3,))
    run_each(compute, 3, x, y, 0.5)
    assert y[0] == np.exp(np.float32(3.5))
    assert y[1] == np.inf
    assert y[2] == 0


def test_division_by_zero_gives_infinity_as_on_a_gpu() -> None:
    def divide(i: int, x: Any, y: Any) -> None:
        y[i] = x[i] / x[2]

    backend = SimulatedBackend()
    x, y = backend.array(np.array([1, -1, 0], np.float32)), backend.zeros((3,))
    run_each(divide, 3, x, y)
    assert y[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(y[2])


def test_a_program_runs_its_launches_in_order_as_often_as_asked() -> None:
    def double(i: int, x: Any) -> None:
        x[i] *= np.float32(2)

    def increment(i: int, x: Any) -> None:
        x[i] += np.float32(1)

    backend = SimulatedBackend()
    x = backend.array(np.ones(3, np.float32))
    backend.program([each(double).over(3, x), each(increment).over(3, x)]).run(3)
    assert x.tolist() == [15, 15, 15]


def test_rows_of_contiguous_items_arrive_as_two_indices() -> None:
    def place(i: int, j: int, y: Any, columns: int) -> None:
        y[i * columns + j] = np.float32(10 * i + j)

    backend = SimulatedBackend()
    y = backend.zeros((3, 4))
    backend.program([each(place).over((3, 4), y, 4)]).run()
    assert y.tolist() == [[10 * i + j for j in range(4)] for i in range(3)]
