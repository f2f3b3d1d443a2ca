"""Recordings in RIFF files with 16-bit PCM samples and one channel: read strictly, and written."""

import io
import wave
from typing import Any

import numpy as np

from services.errors import DataError

MAX_SAMPLES = 10_000_000
_LARGEST_HEADER = 65_536


def parse_wav(data: bytes, name: str) -> tuple[int, np.ndarray[Any, Any]]:
    """Samples in a second, and the samples as int16 (n,); DataError says what is wrong with the file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise _broken(name, f"starts with the bytes {data[:12].hex()}, not with RIFF and WAVE")
    announced = int.from_bytes(data[4:8], "little") + 8
    if announced != len(data):
        raise _broken(name, f"announces {announced} bytes and has {len(data)}")
    try:
        with wave.open(io.BytesIO(data), "rb") as stream:
            return stream.getframerate(), _samples(stream, len(data), name)
    except (wave.Error, EOFError, RuntimeError, ValueError) as error:
        raise _broken(name, f"cannot be read: {error or 'it ends too early'}") from error


def _samples(stream: wave.Wave_read, size: int, name: str) -> np.ndarray[Any, Any]:
    if stream.getnchannels() != 1:
        raise _broken(name, f"has {stream.getnchannels()} channels; one is read")
    if stream.getsampwidth() != 2:
        raise _broken(name, f"has {8 * stream.getsampwidth()} bits a sample; 16 are read")
    if not 1 <= stream.getframerate() <= 384_000:
        raise _broken(name, f"has {stream.getframerate()} samples a second")
    count = stream.getnframes()
    if not 1 <= count <= MAX_SAMPLES:
        raise _broken(name, f"has {count} samples; 1 to {MAX_SAMPLES:,} are read")
    if not 0 <= size - 2 * count <= _LARGEST_HEADER:
        raise _broken(name, f"announces {count} samples in {size} bytes")
    data = stream.readframes(count)
    if len(data) != 2 * count:
        raise _broken(name, f"ends after {len(data)} of {2 * count} bytes of samples")
    return np.frombuffer(data, "<i2").astype(np.int16)


def _broken(name: str, what: str) -> DataError:
    return DataError(f"{name} is not a good wav file: it {what}.", hint="Mono, 16-bit PCM is read.")


def make_wav(samples: np.ndarray[Any, Any], rate: int) -> bytes:
    """A file of samples in -1 … 1 as 16-bit PCM, one channel; what is louder is cut off."""
    data = io.BytesIO()
    with wave.open(data, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes((np.clip(samples, -1, 1) * 32_767).round().astype("<i2").tobytes())
    return data.getvalue()
