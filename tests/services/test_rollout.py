"""Returns, advantages and draws by their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from services.agents.environments import ENVIRONMENTS
from services.agents.replay import Replay
from services.agents.rollout import advantages, drawn, log_softmax, normalised, returns_of

RNG = np.random.default_rng(4)


def test_a_return_is_the_discounted_sum_of_what_follows() -> None:
    assert returns_of([1, 2, 3], 0.5).tolist() == [1 + 1 + 0.75, 2 + 1.5, 3]
    assert returns_of([], 0.5).tolist() == []


def test_with_lambda_1_an_advantage_is_the_return_less_the_value() -> None:
    rewards, values = RNG.normal(size=(6, 1)), RNG.normal(size=(6, 1))
    ended = np.zeros((6, 1), bool)
    ended[-1] = True
    following = np.concatenate([values[1:], [[99.0]]])
    found = advantages(rewards, values, following, ended, ended, 0.9, 1.0)
    assert found[:, 0] == pytest.approx(returns_of(rewards[:, 0], 0.9) - values[:, 0])


def test_with_lambda_0_an_advantage_is_the_error_of_one_step() -> None:
    rewards, values, following = RNG.normal(size=(3, 5, 2))
    never = np.zeros((5, 2), bool)
    assert advantages(rewards, values, following, never, never, 0.9, 0.0) == pytest.approx(
        rewards + 0.9 * following - values
    )


def test_an_episode_that_was_cut_off_keeps_the_value_of_what_would_have_followed() -> None:
    one, cut, never = np.ones((2, 1)), np.array([[True], [False]]), np.zeros((2, 1), bool)
    found = advantages(one, 0 * one, 10 * one, never, cut, 0.5, 0.9)
    assert found[:, 0].tolist() == [6.0, 6.0]
    assert advantages(one, 0 * one, 10 * one, cut, cut, 0.5, 0.9)[0, 0] == 1.0


def test_actions_are_drawn_with_the_chances_of_the_softmax() -> None:
    scores = np.tile(np.log([[0.2, 0.5, 0.3]]).astype(np.float32), (10_000, 1))
    chances = (np.arange(10_000) + 0.5) / 10_000
    assert np.bincount(drawn(scores, chances)).tolist() == pytest.approx([2000, 5000, 3000], abs=1)
    assert np.exp(log_softmax(scores[0])).tolist() == pytest.approx([0.2, 0.5, 0.3])
    assert drawn(np.array([[1e4, -1e4]], np.float32), np.array([1 - 2.0**-24])).tolist() == [0]


def test_normalised_advantages_have_mean_0_and_deviation_1() -> None:
    found = normalised(RNG.normal(3, 2, 100))
    assert (found.mean(), found.std()) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    assert normalised(np.ones(3)).tolist() == [0, 0, 0]


def test_a_full_replay_buffer_forgets_the_oldest() -> None:
    card = ENVIRONMENTS["CartPole-v1"]
    replay = Replay(card, 3)
    for k in range(5):
        replay.add(np.full(4, k), k % 2, float(k), np.full(4, k + 1), k == 4)
    drawn_rows = replay.sample(200, 1, 0)
    assert set(drawn_rows["reward"].tolist()) == {2.0, 3.0, 4.0}
    assert np.array_equal(drawn_rows["next"], drawn_rows["seen"] + 1)
    assert np.array_equal(drawn_rows["ended"], drawn_rows["reward"] == 4)


def test_a_draw_from_the_replay_buffer_is_a_function_of_seed_and_turn() -> None:
    card = ENVIRONMENTS["FrozenLake-v1"]
    one, other = Replay(card, 50), Replay(card, 50)
    for k in range(70):
        one.add([k % 16], 0, float(k), [0], False)
    other.restore(one.state(), one.added)
    for turn in range(3):
        first, second = one.sample(20, 7, turn), other.sample(20, 7, turn)
        assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(one.sample(20, 7, 0)["reward"], one.sample(20, 7, 1)["reward"])
