"""Uploaded recordings: channels, rates and lengths by hand, the same features as the built-in digits have."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from services.datasets.base import Raw
from services.datasets.options import parse
from services.datasets.sound import Spectrogram
from services.datasets.uploaded import source, survey
from services.datasets.uploaded.recordings import Recordings, resampled
from services.errors import Invalid
from tests.services.uploaded.hostile import wav, zipped


def sound(samples: Any, rate: int, form: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=form, subtype=subtype)
    return stream.getvalue()


def tone(rate: int, seconds: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def opened(folder: Path, files: dict[str, bytes]) -> Recordings:
    (folder / "upload").write_bytes(zipped(files))
    made = source("r", "audio", survey(folder / "upload").facts, folder / "upload")
    assert isinstance(made, Recordings)
    return made


def content(made: Recordings, **values: Any) -> Raw:
    found = made.read(Path(), None, parse(Recordings.options_type, values))
    assert isinstance(found, Raw)
    return found


def test_sixteen_bit_samples_come_back_as_they_are_cut_or_filled_with_silence(tmp_path: Path) -> None:
    short, long = np.arange(300, dtype=np.int16), np.arange(900, dtype=np.int16)
    made = opened(tmp_path, {"a/1.wav": sound(short, 8000), "b/1.wav": sound(long, 8000)})
    raw = content(made, seconds=0.05, features="waveform")
    assert raw.x[0].tolist() == [*range(300), *[0] * 100]
    assert raw.x[1].tolist() == list(range(400))
    assert made.card.sample_rate == 8000


def test_channels_become_one(tmp_path: Path) -> None:
    left, right = np.full(400, 0.5), np.full(400, -0.25)
    made = opened(tmp_path, {"a/1.wav": sound(np.stack([left, right], 1), 8000), "b/1.wav": wav()})
    assert content(made, seconds=0.05).x[0].tolist() == [round(0.125 * 32768)] * 400


@pytest.mark.parametrize(("form", "subtype"), [("FLAC", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24")])
def test_other_formats_hold_the_same_sound(tmp_path: Path, form: str, subtype: str) -> None:
    made = opened(tmp_path, {f"a/1.{form.lower()}": sound(tone(8000), 8000, form, subtype), "b/1.wav": wav()})
    assert np.abs(content(made, seconds=0.5).x[0] - tone(8000) * 32768).max() <= 1


def test_a_tone_keeps_its_pitch_when_it_is_resampled() -> None:
    again = resampled(tone(44_100), 44_100, 8_000)
    assert len(again) == 4_000
    middle = slice(200, -200)
    assert np.abs(again - tone(8_000))[middle].max() < 1e-3


def test_tones_above_half_the_new_rate_are_let_through_no_more() -> None:
    assert np.abs(resampled(tone(44_100, frequency=9_000.0), 44_100, 8_000)[100:-100]).max() < 5e-3


def test_features_are_those_of_the_built_in_recordings(tmp_path: Path) -> None:
    made = opened(tmp_path, {"a/1.wav": wav(8000), "b/1.ogg": sound(tone(8000, 1.0), 8000, "OGG")})
    raw = content(made, seconds=1, bins=40)
    assert raw.encoder == Spectrogram("log_mel", 8000, 8000, 40)
    assert made.card_for(parse(Recordings.options_type, {"seconds": 1})).input_shape == (61, 40)
    spectrogram = parse(Recordings.options_type, {"seconds": 1, "features": "log_spectrogram"})
    assert made.card_for(spectrogram).input_shape == (61, 129)
    assert raw.encoder.encode(raw.x).shape == (2, 61, 40)


def test_rate_and_length_are_by_default_what_most_recordings_have(tmp_path: Path) -> None:
    files = {f"{c}/{k}.wav": wav(3200, 8000) for c in "ab" for k in range(5)} | {"a/long.wav": wav(44_100, 44_100)}
    made = opened(tmp_path, files)
    report = survey(tmp_path / "upload").report
    assert report["rates"] == [[8000, 10], [44_100, 1]]
    assert made.encoder(parse(Recordings.options_type, {})).samples == 3200
    assert "2 different rates" in " ".join(report["warnings"])
    with pytest.raises(Invalid, match="at least 256"):
        made.card_for(parse(Recordings.options_type, {"seconds": 0.05, "sample_rate": 2000}))


def test_recordings_that_end_early_are_named_and_left_out(tmp_path: Path) -> None:
    files = {f"{c}/{k}.wav": wav(400 + k) for c in "ab" for k in range(3)}
    files |= {"a/cut.wav": wav()[:-100], "b/none.flac": b"fLaC", "a/cover.png": b"\x89PNG"}
    made = opened(tmp_path, files)
    report = survey(tmp_path / "upload").report
    assert [entry["name"] for entry in report["corrupt"]] == ["a/cut.wav", "b/none.flac"]
    assert "announces" in report["corrupt"][0]["reason"]
    assert report["ignored"] == ["a/cover.png"]
    assert len(content(made).x) == 6
