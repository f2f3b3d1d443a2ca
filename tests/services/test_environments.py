"""Environments are what their cards say, and an episode is a function of its seed and its actions."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from PIL import Image

from kernels.backend import CpuBackend
from services.agents.environments import ENVIRONMENTS, Environment
from services.agents.episode import FRAMES, WIDTH, episode_gif
from services.agents.evaluation import Judge
from services.agents.networks import Answers, Blueprint
from services.agents.world import JUDGE, LEARN, TEST, Chances, World
from services.spec import parse_job
from tests.services.agent_jobs import job_of

each_environment = pytest.mark.parametrize("card", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())


@each_environment
def test_a_card_says_what_gymnasium_says(card: Environment) -> None:
    made = gymnasium.make(card.name)
    space, spec = made.observation_space, gymnasium.spec(card.name)
    assert made.action_space.n == len(card.actions)
    assert spec.reward_threshold == card.reward_threshold
    assert spec.max_episode_steps in (card.max_steps, None)
    parts = space.spaces if isinstance(space, gymnasium.spaces.Tuple) else [space]
    if card.sizes:
        assert tuple(int(part.n) for part in parts) == card.sizes
    else:
        assert space.shape == (len(card.observation),)
    made.close()


@each_environment
def test_an_episode_can_be_played_again_to_the_last_bit(card: Environment) -> None:
    first, second = World(card, 3, LEARN), World(card, 3, LEARN)
    first.begin()
    for step in range(300):
        _, ended, cut = first.step((step * 7) % len(card.actions))
        if ended or cut:
            first.begin()
    second.go_to(first.place())
    assert np.array_equal(first.row, second.row)
    assert first.gained == second.gained
    for action in range(len(card.actions)):
        seen, again = first.step(action), second.step(action)
        assert seen == again
        assert np.array_equal(first.row, second.row)
        if seen[1] or seen[2]:
            break


def test_time_is_up_after_the_most_steps_and_that_is_not_an_end() -> None:
    world = World(ENVIRONMENTS["MountainCar-v0"], 1, LEARN)
    world.begin()
    told = [world.step(1) for _ in range(200)]
    assert told[-1] == (-1.0, False, True)
    assert not any(ended or cut for _, ended, cut in told[:-1])


def test_choices_are_spread_out() -> None:
    rows = ENVIRONMENTS["Blackjack-v1"].encode(np.array([[20, 5, 0], [4, 1, 1]], np.int32))
    assert [np.flatnonzero(row).tolist() for row in rows] == [[20, 32 + 5, 32 + 11], [4, 32 + 1, 32 + 11 + 1]]


def test_what_is_learnt_from_judged_by_and_reported_are_different_episodes() -> None:
    starts = []
    for stream in (LEARN, LEARN + 1, JUDGE, TEST):
        world = World(ENVIRONMENTS["CartPole-v1"], 7, stream)
        for _ in range(5):
            world.begin()
            starts.append(tuple(world.row))
    assert len(set(starts)) == 20


def test_chances_depend_on_their_place_alone() -> None:
    forwards, backwards = Chances(4, 9), Chances(4, 9)
    expected = [forwards.at(2 * k, 2).tolist() for k in range(5000)]
    assert [backwards.at(2 * k, 2).tolist() for k in reversed(range(5000))] == expected[::-1]
    assert 0 <= min(map(min, expected)) < 0.01
    assert 0.99 < max(map(max, expected)) < 1


def answers(rows: int, card: Environment) -> Answers:
    """A network that always prefers the last action."""
    network = parse_job(job_of("dqn", card.name, len(card.actions))).network
    made = Answers(Blueprint(network.layers, card.features), CpuBackend(), rows)
    weights = made.plan.weights()
    bias = next(name for name, array in weights.items() if array.shape == (len(card.actions),))
    made.plan.load_weights(weights | {bias: np.arange(len(card.actions), dtype=np.float32)})
    return made


def test_greedy_episodes_played_side_by_side_are_those_played_alone() -> None:
    card = ENVIRONMENTS["CartPole-v1"]
    together = Judge(card, 5, TEST, 6).greedy(answers(6, card))
    alone = []
    for number in range(6):
        world, over = World(card, 5, TEST), False
        world.begin(number)
        while not over:
            _, ended, cut = world.step(1)
            over = ended or cut
        alone.append(world.gained)
    assert together.returns.tolist() == alone == together.lengths.tolist()
    assert 8 <= together.mean <= 11


def test_random_episodes_gain_what_random_actions_gain() -> None:
    verdict = Judge(ENVIRONMENTS["CartPole-v1"], 5, TEST, 100).random()
    assert 18 < verdict.mean < 27


@pytest.mark.parametrize("name", ["CartPole-v1", "FrozenLake-v1"])
def test_an_episode_becomes_a_moving_picture_of_bounded_size(name: str) -> None:
    card = ENVIRONMENTS[name]
    data = episode_gif(card, 1, answers(1, card))
    with Image.open(__import__("io").BytesIO(data)) as picture:
        assert picture.format == "GIF"
        assert 2 <= getattr(picture, "n_frames", 1) <= FRAMES + 2
        assert picture.width <= WIDTH
    assert len(data) < 2_000_000
