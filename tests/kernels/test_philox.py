"""Counter-based random numbers: the published vectors, the same bits everywhere, and honest distributions."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.backend import CpuBackend
from kernels.launch import each
from kernels.philox import key, normal, permutation, philox, random_bits, uniform

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "halves", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES,) * 4, (ONES, ONES), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_the_known_answers_of_random123(counter: tuple[int, ...], halves: tuple[int, ...], words: str) -> None:
    assert " ".join(f"{int(word):08x}" for word in philox(*counter, *halves)) == words


@each
def fill(i, out, step, stream, k0, k1):  # type: ignore[no-untyped-def]
    a, b, c, d = philox(i, step, stream, 0, k0, k1)
    out[4 * i], out[4 * i + 1], out[4 * i + 2], out[4 * i + 3] = a, b, c, d


def test_a_compiled_kernel_and_the_host_draw_the_same_bits() -> None:
    device, seed = CpuBackend(), 2**61 + 12345
    out = device.zeros((400,), "uint32")
    device.program([fill.over(100, out, 9, 4, *key(seed))]).run()
    assert device.get(out).tolist() == random_bits(seed, 4, 9, 400).tolist()


def test_a_number_depends_on_its_place_and_not_on_how_many_are_drawn() -> None:
    assert random_bits(1, 2, 3, 7).tolist() == random_bits(1, 2, 3, 1000)[:7].tolist()


def test_seed_stream_and_step_all_change_the_numbers() -> None:
    draws = [random_bits(*place, 64).tobytes() for place in ((1, 2, 3), (9, 2, 3), (1, 9, 3), (1, 2, 9), (2**40, 2, 3))]
    assert len(set(draws)) == len(draws)


def test_uniform_numbers_fill_the_unit_interval_and_are_exact_in_float32() -> None:
    values = uniform(1, 2, 3, 100_000)
    assert values.min() >= 0
    assert values.astype(np.float32).max() < 1
    assert values.mean() == pytest.approx(1 / 2, abs=4 / np.sqrt(12 * 100_000))
    counts = np.histogram(values, 100, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 4 * np.sqrt(2 * 99), "chi-square over 100 bins"


def test_normal_numbers_have_the_moments_of_the_normal_law() -> None:
    values = normal(1, 2, 3, 100_001)
    assert np.isfinite(values).all()
    assert values.mean() == pytest.approx(0, abs=4 / np.sqrt(100_000))
    assert values.var() == pytest.approx(1, abs=4 * np.sqrt(2 / 100_000))
    assert (values**4).mean() == pytest.approx(3, abs=4 * np.sqrt(96 / 100_000))


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_a_permutation_visits_every_row_once(n: int) -> None:
    assert sorted(permutation(n, seed=5, epoch=0)) == list(range(n))


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    orders = {permutation(50, seed, epoch).tobytes() for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_every_order_of_three_is_equally_likely() -> None:
    orders = [tuple(permutation(3, 1, epoch)) for epoch in range(6000)]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 5 + 4 * np.sqrt(10)


@pytest.mark.parametrize("seed", [-1, 2**62])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="a seed is a number from 0 to"):
        random_bits(seed, 0, 0, 1)
