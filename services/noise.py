"""Noise on what an auto-encoder sees, while its targets stay clean: `dataset.noise` makes it a denoising one.

While training, every epoch brings fresh noise; validation and test rows have noise of their own that never changes, so
that two scores can be compared. All of it follows from the job's seed, the part, the epoch and the element
(`kernels.philox`): a resumed run sees the same noise, and so does a repeated one. A `gaussian_noise` layer, as in
Keras, is silent outside training: what it does to a network is judged on clean inputs.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, final

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Interval, Le

from kernels.ops.gaussian_noise import blur
from kernels.philox import key, normal
from services.datasets import Card
from services.errors import Mistake

if TYPE_CHECKING:
    from kernels.backend import Backend
    from services.plan import Feed

Floats = npt.NDArray[np.float32]
Renew = Callable[[int], None]
"""Brings the noise of an epoch."""

STREAM = 0x7FFD0000
"""Its streams of random numbers: this one for the train part, the next for validation, the one after for the test."""

PARTS = ("train", "validation", "test")


@final
@dataclass(frozen=True)
class Place:
    """Where noise goes: into the inputs of `feed`, whose targets (`targets` on the host) are the clean rows.

    `equal_loudness`: every recording is scaled by its loudest sample, and with noise that is another one.
    """

    backend: Backend
    feed: Feed
    targets: Floats
    part: str
    seed: int
    equal_loudness: bool = False

    @property
    def stream(self) -> int:
        """The stream of the part."""
        return STREAM + PARTS.index(self.part)


@dataclass(frozen=True)
class Noise(abc.ABC):
    """A kind of noise; concrete ones are frozen dataclasses whose fields are what a user may say."""

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()

    def unfit(self, card: Card, steps: int) -> Mistake | None:
        """What keeps the noise from rows of this data set, preprocessed in so many steps."""
        return None

    @abc.abstractmethod
    def over(self, place: Place) -> Renew:
        """A function that brings the noise of an epoch to its place."""


@final
@dataclass(frozen=True)
class Gaussian(Noise):
    """x + stddev · ε, with ε normal of mean 0 and variance 1, in the units that the network sees: after preprocessing.

    As the layer `gaussian_noise` at the front would add it, and in validation and test as well.
    """

    type: ClassVar[str] = "gaussian"
    stddev: Annotated[float, Gt(0), Le(1e6)]

    def over(self, place: Place) -> Renew:
        """On the device: one launch over all rows."""
        feed, backend = place.feed, place.backend
        clock, size = backend.zeros((4,), "int32"), int(feed.x.size)
        quarter = -(-size // 4)
        numbers = place.stream, *key(place.seed), quarter, size, float(self.stddev)
        program = backend.program([blur.over(quarter, feed.t, feed.x, clock, *numbers, work=250)])

        def renew(epoch: int) -> None:
            backend.put(clock, np.array([epoch, 0, 0, 0], np.int32))
            program.run()

        return renew


@final
@dataclass(frozen=True)
class White(Noise):
    """White noise over recordings, so loud that their signal-to-noise ratio is `snr_db`: 0 is as loud as the voice.

    Each recording has its own: σ² = mean of its squared samples · 10^(−snr_db / 10). The silence that fills a row up
    to its length does not count as recording, but the noise goes on in it.
    """

    type: ClassVar[str] = "white"
    snr_db: Annotated[float, Interval(ge=-40, le=80)]

    def unfit(self, card: Card, steps: int) -> Mistake | None:
        """It takes samples of sound, as their data set gives them."""
        if card.kind != "audio" or len(card.input_shape) != 2 or card.input_shape[-1] != 1:
            message = f"white noise goes over samples of sound, and a row of {card.name} is {list(card.input_shape)}"
            hint = "Choose features: waveform of a data set of recordings, or noise of type gaussian."
            return Mistake("dataset.noise", "noise_unfit", message, hint)
        if steps:
            message = "preprocessing would come between the recording and its noise"
            return Mistake("dataset.preprocessing", "noise_unfit", message, "Leave it out: samples lie in -1 … 1.")
        return None

    def over(self, place: Place) -> Renew:
        """On the host, for every recording has its own loudness."""
        clean, noisy, targets = place.targets.copy(), np.empty_like(place.targets), place.targets

        def renew(epoch: int) -> None:
            for row, voice in enumerate(clean):
                noise = normal(place.seed + (epoch << 32), place.stream, row, voice.size).reshape(voice.shape)
                mixed = voice + self.deviation(voice) * noise
                scale = 1 / max(1e-9, float(np.abs(mixed).max())) if place.equal_loudness else 1.0
                noisy[row], targets[row] = mixed * scale, voice * scale
            place.backend.put(place.feed.x, noisy.reshape(place.feed.x.shape))
            place.backend.put(place.feed.t, targets.reshape(place.feed.t.shape))

        return renew

    def deviation(self, voice: Floats) -> float:
        """The noise's σ for a recording."""
        spoken = voice.ravel()[: spoken_samples(voice)].astype(np.float64)
        return float(np.sqrt(np.square(spoken).mean() * 10 ** (-self.snr_db / 10))) if spoken.size else 0.0


def spoken_samples(voice: npt.NDArray[Any]) -> int:
    """How many samples a recording has before the silence that fills up its row."""
    loud = np.flatnonzero(voice)
    return int(loud[-1]) + 1 if loud.size else 0


NOISES: Mapping[str, type[Noise]] = {noise.type: noise for noise in (Gaussian, White)}
NOISE_NAMES = {name: noise.type for noise in NOISES.values() for name in (noise.type, *noise.aliases)}
