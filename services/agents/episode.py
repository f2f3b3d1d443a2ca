"""One greedy episode as a moving picture, small enough for any page."""

from __future__ import annotations

import io
from typing import Any, Final

from services.agents.environments import Environment
from services.agents.networks import Answers
from services.agents.world import TEST, World

NAME: Final = "episode.gif"
FRAMES: Final = 250
WIDTH: Final = 300
TICK: Final = 20
"""Milliseconds a step of the environment takes on the screen; toy texts move field by field, and slower."""


def episode_gif(card: Environment, seed: int, network: Answers) -> bytes:
    """The first of the test episodes, at most FRAMES pictures of WIDTH pixels; `network` answers one row."""
    world = World(card, seed, TEST, pictures=True)
    try:
        return _gif(_frames(world, network), card)
    finally:
        world.close()


def _frames(world: World, network: Answers) -> list[Any]:
    """Every so many steps a picture: the first, the last, and what fits between."""
    every = -(-world.card.max_steps // FRAMES)
    world.begin(0)
    frames, over = [_small(world.picture())], False
    while not over:
        action = int(network.of(world.card.encode(world.row[None])).argmax())
        _, ended, cut = world.step(action)
        over = ended or cut
        if over or len(world.actions) % every == 0:
            frames.append(_small(world.picture()))
    return frames


def _small(picture: Any) -> Any:
    from PIL import Image

    image = Image.fromarray(picture)
    width, height = image.size
    return image.resize((WIDTH, max(1, height * WIDTH // width)), Image.Resampling.BOX) if width > WIDTH else image


def _gif(frames: list[Any], card: Environment) -> bytes:
    """The frames in the colours of the last one: palettes of their own would make it many times larger."""
    from PIL import Image

    tick = TICK * -(-card.max_steps // FRAMES) if not card.sizes else 15 * TICK
    palette = frames[-1].quantize(64, dither=Image.Dither.NONE)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    drawn[0].save(file, "GIF", save_all=True, append_images=drawn[1:], duration=tick, loop=0, optimize=False)
    return file.getvalue()
