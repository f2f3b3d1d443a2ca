"""Recordings in class folders: WAV, FLAC and OGG, decoded by libsndfile, one channel at one rate."""

import io
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
from annotated_types import Interval

from services.datasets.base import Array, Card, Raw
from services.datasets.options import Options
from services.datasets.sound import FRAME, FULL_SCALE, Features, Spectrogram, fitted
from services.datasets.uploaded.folders import (
    Unreadable,
    contents,
    facts_of,
    read_files,
    report_of,
    samples_of,
    sizes_of,
)
from services.datasets.uploaded.kind import MAX_CONTENT_BYTES, Survey, Uploaded, shown
from services.errors import Invalid, Mistake

MAX_FRAMES = 20_000_000
"""Samples of a recording, all channels together."""
MAX_CHANNELS = 16
"""Channels of a recording, which become one."""
RATES = (1_000, 384_000)
"""Samples a second that a recording may have."""
_SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga")
_FORMATS = {"WAV", "WAVEX", "FLAC", "OGG"}
_USUAL_RATE, _LONGEST_DEFAULT, _MOST_SECONDS = 16_000, 10.0, 60.0
_PREVIEW = 200


@final
@dataclass(frozen=True)
class RecordingOptions(Options):
    """`sample_rate`: samples a second of every recording, others are resampled; by default the most frequent rate, at
    most 16,000. `seconds` of each recording, cut or filled with silence at the end; by default as long as nine of ten
    are, at most 10. `features`: log_mel, `bins` bands as the ear hears them; log_spectrogram, all 129 frequencies; or
    waveform, the samples. `equal_loudness`: the loudest sample of every recording becomes 1."""

    sample_rate: Annotated[int, Interval(ge=2_000, le=48_000)] | None = None
    seconds: Annotated[float, Interval(ge=0.05, le=_MOST_SECONDS)] | None = None
    features: Features = "log_mel"
    bins: Annotated[int, Interval(ge=8, le=FRAME // 2)] = 40
    equal_loudness: bool = True


@final
class Recordings(Uploaded):
    """An uploaded archive of recordings in class folders."""

    kind = "audio"
    docs = "A zip or tar(.gz) of WAV, FLAC or OGG files in class folders, optionally under train/ and test/."
    options_type = RecordingOptions

    @classmethod
    def survey(cls, file: Path) -> Survey:
        """Decode every recording."""
        found = contents(file, is_recording, _look)
        rates = Counter(rate for rate, _ in found.good.values())
        lengths = np.array([frames / rate for rate, frames in found.good.values()])
        facts = facts_of(found) | {
            "rates": [list(pair) for pair in rates.most_common(10)],
            "seconds": {
                "shortest": float(lengths.min()),
                "median": float(np.median(lengths)),
                "most": float(np.quantile(lengths, 0.9)),
                "longest": float(lengths.max()),
            },
        }
        report = report_of(found, facts) | {"rates": facts["rates"], "seconds": facts["seconds"]}
        if len(rates) > 1:
            report["warnings"].append(f"The recordings have {len(rates):,} different rates and are resampled to one.")
        return Survey(cls.kind, facts, report, shown(samples_of(found, facts)))

    def encoder(self, options: RecordingOptions) -> Spectrogram:
        """What makes rows of recordings under these options; Invalid where they are too short."""
        rate = options.sample_rate or min(int(self.facts["rates"][0][0]), _USUAL_RATE)
        usual = min(_LONGEST_DEFAULT, math.ceil(self.facts["seconds"]["most"] * 10) / 10)
        samples = round((options.seconds or usual) * rate)
        if samples < FRAME and options.seconds is None:
            samples = FRAME
        if samples < FRAME:
            message = f"{options.seconds} s are {samples} samples at {rate:,} a second; at least {FRAME} are needed"
            raise Invalid([Mistake("dataset.seconds", "too_short", message, "Choose a longer time or a higher rate.")])
        return Spectrogram(options.features, rate, samples, options.bins, options.equal_loudness)

    def card_for(self, options: RecordingOptions) -> Card:
        """Shape and counts follow from the facts."""
        encoder = self.encoder(options)
        rows = sum(sum(counts.values()) for counts in self.facts["counts"].values())
        held = rows * (2 * encoder.samples + 4 * int(np.prod(encoder.shape)))
        if held > MAX_CONTENT_BYTES:
            message = f"{rows:,} recordings need {held:,} bytes, more than {MAX_CONTENT_BYTES:,}"
            raise Invalid([Mistake("dataset.seconds", "too_large", message, "Choose a shorter time or a lower rate.")])
        return Card(
            name=self.name,
            title=self.name,
            kind="audio",
            tasks=("classification",),
            input_shape=encoder.shape,
            classes=tuple(self.facts["classes"]),
            target_names=("class",),
            description=f"{rows:,} uploaded recordings; {len(self.facts['corrupt']):,} files could not be read.",
            source="upload",
            license="",
            sample_rate=encoder.rate,
            **sizes_of(self.facts),
        )

    def read_file(self, file: Path, options: RecordingOptions) -> Raw:
        """Every good recording as 16-bit samples, cut or filled to one length."""
        encoder = self.encoder(options)

        def row(data: bytes) -> Array:
            return fitted(pcm(resampled(*decoded(data), encoder.rate)), encoder.samples)

        raw = read_files(file, self.name, self.facts, is_recording, row, (encoder.samples,), np.int16)
        return replace(raw, encoder=encoder)


def is_recording(name: str, data: bytes) -> bool:
    """Whether a file is, or should be, a recording."""
    is_wav = data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    return is_wav or data.startswith((b"fLaC", b"OggS")) or name.lower().endswith(_SUFFIXES)


def decoded(data: bytes) -> tuple[Array, int]:
    """Samples float64 (n,), the mean of all channels in -1 … 1, and the rate; Unreadable says why there are none."""
    import soundfile  # type: ignore[import-untyped]

    _check_riff(data)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            if sound.format not in _FORMATS:
                raise Unreadable(f"it is {sound.format}; WAV, FLAC and OGG are read")
            if not RATES[0] <= sound.samplerate <= RATES[1] or not 1 <= sound.channels <= MAX_CHANNELS:
                raise Unreadable(f"it has {sound.channels} channels of {sound.samplerate:,} samples a second")
            if not 1 <= sound.frames * sound.channels <= MAX_FRAMES:
                raise Unreadable(f"it has {sound.frames:,} samples; 1 to {MAX_FRAMES:,} are read")
            samples = sound.read(dtype="float32", always_2d=True)
            if len(samples) != sound.frames or not np.isfinite(samples).all():
                raise Unreadable(f"it ends after {len(samples):,} of {sound.frames:,} samples, or holds other things")
            return samples.mean(axis=1, dtype=np.float64), sound.samplerate
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # A decoder may stumble over foreign bytes in any way; the file is broken then.
        raise Unreadable(f"it is no good recording ({type(error).__name__}: {str(error)[:120]})") from error


def _check_riff(data: bytes) -> None:
    """libsndfile reads on in files that were cut off; a recording that lacks its end is none."""
    if data[:4] != b"RIFF":
        return
    announced = int.from_bytes(data[4:8], "little") + 8
    if data[8:12] != b"WAVE" or announced not in {len(data), len(data) + 1, len(data) - 1}:
        raise Unreadable(f"its header announces {announced:,} bytes, and it has {len(data):,}")


def resampled(samples: Array, rate: int, wanted: int) -> Array:
    """The same sound with `wanted` samples a second, by a polyphase filter that lets no higher tones through."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.asarray(resample_poly(samples, wanted // common, rate // common), np.float64)


def pcm(samples: Array) -> Array:
    """Samples of 16 bits."""
    values: Array = np.clip(np.rint(samples * FULL_SCALE), 1 - FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return values


def _look(data: bytes) -> tuple[tuple[int, int], Callable[[], dict[str, Any]]]:
    samples, rate = decoded(data)
    return (rate, len(samples)), lambda: _preview(samples, rate)


def _preview(samples: Array, rate: int) -> dict[str, Any]:
    """The loudest sample of each of `_PREVIEW` stretches: the outline of a wave."""
    edges = np.linspace(0, len(samples), min(_PREVIEW, len(samples)) + 1).astype(int)[:-1]
    outline = np.maximum.reduceat(np.abs(samples), edges)
    return {"seconds": len(samples) / rate, "sample_rate": rate, "outline": np.round(outline, 3).tolist()}
