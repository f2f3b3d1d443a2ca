"""Spoken digits: recordings of six speakers, as pictures of sound or as samples."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, final, get_args

import numpy as np
from annotated_types import Interval

from services.datasets.archives import read_tar
from services.datasets.base import Array, Card, Progress, Raw, Source
from services.datasets.download import RemoteFile, fetch
from services.datasets.options import Options
from services.datasets.sound import FRAME, Features, Spectrogram, fitted
from services.datasets.wav import parse_wav
from services.errors import DataError, Invalid, Mistake

Speaker = Literal["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
SPEAKERS: tuple[str, ...] = get_args(Speaker)
RATE = 8_000
_NAME = re.compile(r"(?:.*/)?recordings/(([0-9])_([a-z]+)_([0-9]{1,2})\.wav)", re.ASCII)
_MOST_BYTES = 64 * 2**20
_OF_EACH, _TEST_OF_EACH, _DIGITS = 50, 5, 10


@final
@dataclass(frozen=True)
class SpeechOptions(Options):
    """`hold_out`: all recordings of this speaker are the test part, none of them is learnt from; without it, the test
    part is the publisher's: the first five recordings of each digit by each speaker. `validate_on`: all recordings of
    another speaker are for validation. `features`: 40 (`bins`) mel bands, or all 129 frequencies, or the samples;
    `seconds` of each recording, cut or filled with silence at the end."""

    hold_out: Speaker | None = None
    validate_on: Speaker | None = None
    features: Features = "log_mel"
    bins: Annotated[int, Interval(ge=8, le=FRAME // 2)] = 40
    seconds: Annotated[float, Interval(ge=0.1, le=3.0)] = 1.0
    equal_loudness: bool = True

    @property
    def encoder(self) -> Spectrogram:
        """What makes rows of recordings."""
        return Spectrogram(self.features, RATE, round(self.seconds * RATE), self.bins, self.equal_loudness)


def digest(path: Path) -> str:
    """The SHA-256 of the recordings in an archive, by name: however it was packed, and whatever else it holds."""
    total = hashlib.sha256()
    for name, data in sorted(_recordings(path).items()):
        total.update(f"{name} {len(data)}\n".encode())
        total.update(data)
    return total.hexdigest()


RECORDINGS = RemoteFile(
    "fsdd-recordings.tar.gz",
    "8fed8b0b058a7efa7544bbb3e8e98607ecdcbd47a2f0ea31139cab18a6b679c9",
    15_558_071,
    (
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/"
        "26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz",
    ),
    digest,
)
_CARD = Card(
    name="spoken_digits",
    title="Spoken digits of six speakers",
    kind="audio",
    tasks=("classification",),
    input_shape=(61, 40),
    classes=tuple("0123456789"),
    target_names=("digit",),
    train=2_700,
    test=300,
    description="3,000 recordings of English digits by six speakers, 8 kHz, a second at most in general (FSDD). "
    "A speaker who was never heard is far harder than the publisher's split: hold one out.",
    source="Z. Jackson et al., Free Spoken Digit Dataset",
    license="CC BY-SA 4.0",
    download_bytes=RECORDINGS.size,
    parts="own_test",
    sample_rate=RATE,
)


@final
class SpokenDigits(Source):
    """The recordings by digit, speaker and number, dealt out by speaker or by number."""

    card = _CARD
    options_type = SpeechOptions

    def card_for(self, options: SpeechOptions) -> Card:
        """Counts follow from who is held out."""
        if options.validate_on is not None and options.validate_on == options.hold_out:
            message = f"{options.hold_out} is held out for the test already"
            raise Invalid([Mistake("dataset.validate_on", "same_speaker", message, "Choose another speaker.")])
        everyone, each = _OF_EACH * _DIGITS * len(SPEAKERS), _OF_EACH * _DIGITS
        test = each if options.hold_out else everyone * _TEST_OF_EACH // _OF_EACH
        validation = 0
        if options.validate_on:
            validation = each if options.hold_out else each - _TEST_OF_EACH * _DIGITS
        return replace(
            _CARD,
            input_shape=options.encoder.shape,
            train=everyone - test - validation,
            test=test,
            validation=validation,
            parts="own_parts" if options.validate_on else "own_test",
        )

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """All recordings as 16-bit samples, cut or filled to one length."""
        chosen = options or SpeechOptions()
        path = fetch(self.card.name, RECORDINGS, datasets_dir, progress)
        found = _recordings(path)
        names = sorted(found)
        about = [_about(name) for name in names]
        samples = chosen.encoder.samples
        x = np.stack([fitted(_wave(found[name], name), samples) for name in names])
        y = np.array([digit for digit, _, _ in about], np.int32)
        test = np.array([_is_test(speaker, number, chosen.hold_out) for _, speaker, number in about])
        validation = np.array([speaker == chosen.validate_on for _, speaker, _ in about]) & ~test
        train = ~test & ~validation
        raw = Raw(x[train], y[train], x[test], y[test], encoder=chosen.encoder)
        if chosen.validate_on is None:
            return raw
        return replace(raw, validation_x=x[validation], validation_y=y[validation])


def _is_test(speaker: str, number: int, hold_out: str | None) -> bool:
    return number < _TEST_OF_EACH if hold_out is None else speaker == hold_out


def _recordings(path: Path) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for member, data in read_tar(path, lambda name: _NAME.fullmatch(name) is not None, _MOST_BYTES):
        match = _NAME.fullmatch(member)
        assert match is not None
        if match[1] in found:
            raise DataError(f"{path.name} holds {match[1]} twice.")
        found[match[1]] = data
    expected = {f"{d}_{s}_{k}.wav" for d in range(_DIGITS) for s in SPEAKERS for k in range(_OF_EACH)}
    if set(found) != expected:
        raise DataError(f"{path.name} holds {len(found):,} recordings that are not the expected {len(expected):,}.")
    return found


def _about(name: str) -> tuple[int, str, int]:
    digit, speaker, number = name.removesuffix(".wav").split("_")
    return int(digit), speaker, int(number)


def _wave(data: bytes, name: str) -> Array:
    rate, samples = parse_wav(data, name)
    if rate != RATE:
        raise DataError(f"{name} has {rate} samples a second, not {RATE}.")
    return samples


SOURCES = (SpokenDigits(),)
