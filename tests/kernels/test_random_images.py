"""Images mirrored and moved at random while a network learns: which they become, how often, and never at rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from kernels.operator import ShapeError
from kernels.ops.random_flip import RandomFlip
from kernels.ops.random_translation import RandomTranslation
from kernels.tensor import TensorSpec
from tests.kernels.harness import Array, Bound, bind

IMAGES = (600, 3, 5, 2)
PADS = {"reflect": "symmetric", "wrap": "wrap", "constant": "constant"}
"""NumPy's names for the ways to fill."""

LAYERS = (RandomFlip("horizontal"), RandomTranslation(0.4, 0.5))
either = pytest.mark.parametrize("layer", LAYERS, ids=["flip", "translation"])


def numbered(layer: Any, shape: tuple[int, ...] = IMAGES, training: bool = True) -> tuple[Bound, Array]:
    """The layer over images in which every number is another one."""
    made, x = bind(layer, TensorSpec(shape), training=training), np.arange(np.prod(shape), dtype=np.float32)
    made.put("x", x.reshape(shape))
    return made, x.reshape(shape)


def test_about_half_of_the_images_are_mirrored_and_the_others_left_alone() -> None:
    made, x = numbered(RandomFlip("horizontal"))
    y = made.forward()
    mirrored = (y == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (y == x).all(axis=(1, 2, 3))).all()
    assert mirrored.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / len(x)))


def test_both_ways_are_two_coins() -> None:
    made, x = numbered(RandomFlip())
    y = made.forward()
    kinds = (x, x[:, ::-1], x[:, :, ::-1], x[:, ::-1, ::-1])
    shares = np.array([(y == kind).all(axis=(1, 2, 3)).mean() for kind in kinds])
    assert shares.sum() == 1
    assert shares == pytest.approx(0.25, abs=4 * np.sqrt(0.19 / len(x)))


@pytest.mark.parametrize("fill", PADS)
def test_an_image_moves_as_numpy_pads_it_and_every_move_is_as_likely(fill: Any) -> None:
    made, x = numbered(RandomTranslation(0.4, 0.4, fill, 7.0 if fill == "constant" else 0.0))
    y, moves = made.forward(), Counter[tuple[int, int]]()
    options: dict[str, Any] = {"constant_values": 7} if fill == "constant" else {}
    for image, wide in zip(y, np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), PADS[fill], **options), strict=True):
        found = [
            (1 - r, 2 - s) for r in range(3) for s in range(5) if np.array_equal(wide[r : r + 3, s : s + 5], image)
        ]
        assert len(found) == 1
        moves[found[0]] += 1
    assert len(moves) == 15
    assert sum((count - 40) ** 2 / 40 for count in moves.values()) < 43.8, "chi² of 15 cells: 1 in 16,000 by chance"


def test_a_factor_of_nothing_moves_nothing() -> None:
    made, x = numbered(RandomTranslation(0.0, 0.0))
    assert made.forward().tobytes() == x.tobytes()


@either
def test_every_step_and_every_layer_has_its_own_numbers_and_the_same_step_the_same(layer: Any) -> None:
    made, _ = numbered(layer)
    first = made.forward()
    assert made.forward().tobytes() == first.tobytes()
    made.put("clock", np.array([6, 600, 600, 0], np.int32))
    assert (made.forward() != first).any(axis=(1, 2, 3)).mean() > 0.4


@either
def test_at_rest_every_image_stays_as_it_is(layer: Any) -> None:
    made, x = numbered(layer, training=False)
    assert made.forward().tobytes() == x.tobytes()


@either
def test_what_is_no_image_is_refused_with_the_remedy(layer: Any) -> None:
    with pytest.raises(ShapeError, match=r"expects \(batch, height, width, channels\).*reshape"):
        layer.infer(TensorSpec((4, 8)))
