"""A language model's text follows its chances, and the same prompt is continued in the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.writing import Tokens, continued, windowed

LETTERS = 5


def successor(certainty: float) -> Any:
    """A network that expects each symbol's successor (mod LETTERS), the rest sharing what is left."""

    def chances(window: Tokens) -> Any:
        rest = np.full((*window.shape, LETTERS), (1 - certainty) / (LETTERS - 1), np.float32)
        np.put_along_axis(rest, ((window + 1) % LETTERS)[..., None], certainty, axis=-1)
        return rest

    return chances


def test_a_certain_network_is_followed_to_the_letter_beyond_its_window() -> None:
    text = continued(np.array([3], np.int32), windowed(4, successor(1.0)), length=12)
    assert text.tolist() == [(4 + k) % LETTERS for k in range(12)]


def test_the_same_prompt_is_continued_in_the_same_way() -> None:
    one, two = (continued(np.array([0, 1], np.int32), windowed(8, successor(0.5))).tolist() for _ in range(2))
    assert one == two


@pytest.mark.parametrize("warmth", [1.0, 0.5, 0.1])
def test_symbols_come_as_often_as_their_chances_to_the_power_of_one_over_the_temperature(warmth: float) -> None:
    text = continued(np.array([0], np.int32), windowed(4, successor(0.6)), length=4000, warmth=warmth)
    hits = np.mean(np.diff(np.append(0, text)) % LETTERS == 1)
    wanted = 0.6 ** (1 / warmth) / (0.6 ** (1 / warmth) + 4 * 0.1 ** (1 / warmth))
    assert hits == pytest.approx(wanted, abs=0.03)
