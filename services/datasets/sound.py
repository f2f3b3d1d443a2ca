"""Sound as pictures for a network: time from left to right, pitch on the other axis, loudness as the value."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, final, get_args

import numpy as np
import numpy.typing as npt

from services.datasets.encoding import Array, Encoder, collect
from services.errors import Invalid, Mistake

Features = Literal["log_mel", "log_spectrogram", "waveform"]
FRAME, STEP = 256, 128
FULL_SCALE = 32_768
_FLOOR = 1e-6
_ROWS_AT_ONCE = 128
_LONGEST_SECONDS = 60


@final
@dataclass(frozen=True)
class Spectrogram(Encoder):
    """16-bit samples (n, samples) as float32 (n, frames, bins): log of the power of each frame in each band.

    Frames of 256 samples under a Hann window, one every 128 samples. `log_mel`: triangular bands, equally wide on the
    mel scale m = 2595 log₁₀(1 + f/700); `log_spectrogram`: all 129 frequencies; `waveform`: the samples themselves,
    (n, samples, 1) in -1 … 1. With `equal_loudness`, the loudest sample of every recording becomes 1.
    """

    type: ClassVar[str] = "spectrogram"
    features: Features
    rate: int
    samples: int
    bins: int
    equal_loudness: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no setting."""
        if self.features not in get_args(Features):
            raise ValueError(f"features are one of {', '.join(get_args(Features))}")
        if not FRAME <= self.samples <= self.rate * _LONGEST_SECONDS or not 1 <= self.bins <= FRAME // 2:
            raise ValueError(f"a recording has at least {FRAME} samples, and 1 to {FRAME // 2} bands")

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of a row: frames (or samples) and bands (or 1)."""
        if self.features == "waveform":
            return self.samples, 1
        frames = 1 + (self.samples - FRAME) // STEP
        return frames, self.bins if self.features == "log_mel" else FRAME // 2 + 1

    def encode(self, rows: Array) -> Array:
        """float32 (n, frames, bins), or (n, samples, 1)."""
        encoded = np.empty((len(rows), *self.shape), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            encoded[block] = self._block(rows[block].astype(np.float64) / FULL_SCALE)
        return encoded

    def _block(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.equal_loudness:
            loudest = np.abs(x).max(axis=1, keepdims=True)
            x = x / np.where(loudest == 0, 1, loudest)
        if self.features == "waveform":
            return x[..., np.newaxis]
        power = spectrum(x)
        return np.log(_FLOOR + (power @ self._bands if self.features == "log_mel" else power))

    @cached_property
    def _bands(self) -> npt.NDArray[np.float64]:
        return mel_bands(self.bins, self.rate)

    def rows(self, inputs: Sequence[Any]) -> Array:
        """Lists of 16-bit samples at `rate` per second; silence is added at the end, or the end is cut off."""
        return np.array(collect(inputs, self._row), np.int16).reshape(-1, self.samples)

    def _row(self, number: int, row: Any) -> Array:
        most = self.rate * _LONGEST_SECONDS
        good = isinstance(row, list | tuple) and 1 <= len(row) <= most
        if not good or not all(type(value) is int and abs(value) <= FULL_SCALE - 1 for value in row):
            message = f"a recording is a list of 1 to {most:,} whole numbers from -32767 to 32767, {self.rate} a second"
            raise Invalid([Mistake(f"inputs[{number}]", "not_sound", message)])
        return fitted(np.array(row, np.int16), self.samples)

    def row_schema(self) -> dict[str, Any]:
        """A list of 16-bit samples."""
        sample = {"type": "integer", "minimum": 1 - FULL_SCALE, "maximum": FULL_SCALE - 1}
        text = f"{self.rate} samples a second, 16 bit, mono; {self.samples} are read."
        return {"type": "array", "items": sample, "minItems": 1, "description": text}


def fitted(wave: Array, samples: int) -> Array:
    """A recording cut to `samples`, or with silence at its end."""
    row = np.zeros(samples, np.int16)
    row[: min(samples, len(wave))] = wave[:samples]
    return row


def spectrum(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Power |FFT|² of the frames of `x` (n, samples) under a periodic Hann window: (n, frames, 129)."""
    frames = np.lib.stride_tricks.sliding_window_view(x, FRAME, axis=1)[:, ::STEP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    return np.square(np.abs(np.fft.rfft(frames * window, axis=-1)))


def mel_bands(bins: int, rate: int) -> npt.NDArray[np.float64]:
    """Weights (129, bins) of triangles whose corners are equally far apart on the mel scale, up to half the rate."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, bins + 2) / 2595) - 1)
    frequencies = np.linspace(0, rate / 2, FRAME // 2 + 1)[:, np.newaxis]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    triangles: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    # The lowest triangles are narrower than the distance of two frequencies and may miss them all.
    nearest = np.abs(frequencies - middle).argmin(axis=0)
    empty = np.flatnonzero(triangles.sum(axis=0) == 0)
    triangles[nearest[empty], empty] = 1
    return triangles


def stft(wave: npt.NDArray[Any]) -> npt.NDArray[np.complex128]:
    """The spectra (frames, 129) of overlapping frames of a wave: 256 samples every 128 under the root of a Hann window.

    The wave is continued by silence on both sides, so that every sample lies in two frames.
    """
    whole = -(-wave.size // STEP) * STEP
    padded = np.pad(np.asarray(wave, np.float64), (STEP, whole - wave.size + STEP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::STEP]
    return np.asarray(np.fft.rfft(frames * _root_hann(), axis=-1))


def inverse_stft(spectra: npt.NDArray[np.complex128], samples: int) -> npt.NDArray[np.float64]:
    """The wave of `samples` whose spectra these are: frames under the same window, added where they overlap.

    The squares of the windows of neighbours add up to 1, so `inverse_stft(stft(x), x.size)` is x.
    """
    frames = np.fft.irfft(spectra, FRAME, axis=-1) * _root_hann()
    wave = np.zeros((len(frames) + 1) * STEP)
    for k, frame in enumerate(frames):
        wave[k * STEP : k * STEP + FRAME] += frame
    return wave[STEP : STEP + samples]


def _root_hann() -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)))
