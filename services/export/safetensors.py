"""Models and checkpoints as safetensors files: arrays by name, and plain JSON beside them. Never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from services.errors import DataError

Array = npt.NDArray[Any]
HEADER = "trainyard"
HEADER_BYTES = 16_000_000
"""The longest header that is read: ten times that of a model with the largest vocabulary."""
TENSORS = 10_000


def pack(arrays: Mapping[str, Array], about: Mapping[str, Any]) -> bytes:
    """A safetensors file of `arrays`, with `about` as JSON in its header."""
    return save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, {HEADER: json.dumps(about)})


def unpack(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and JSON of a file that `pack` wrote; DataError when it is damaged or another's."""
    try:
        check_header(path)
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()[HEADER])
            names = list(file.keys())
            if len(names) > TENSORS:
                raise ValueError(f"it has {len(names):,} tensors")
            return {name: file.get_tensor(name) for name in names}, about
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is not a file that Trainyard wrote, or it is damaged: {error}") from error


def check_header(path: Path) -> None:
    """ValueError for a header that is longer than the file, or than any of ours: it would be read into memory."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(HEADER_BYTES, path.stat().st_size - 8):
        raise ValueError(f"its header claims {length:,} bytes")


def digest(arrays: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and bits of all arrays: equal exactly when two models are."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name}{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()
