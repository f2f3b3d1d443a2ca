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


def pack(arrays: Mapping[str, Array], about: Mapping[str, Any]) -> bytes:
    """A safetensors file of `arrays`, with `about` as JSON in its header."""
    return save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, {HEADER: json.dumps(about)})


def unpack(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and JSON of a file that `pack` wrote; DataError when it is damaged or another's."""
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()[HEADER])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path.name} is not a file that Trainyard wrote, or it is damaged: {error}") from error


def digest(arrays: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and bits of all arrays: equal exactly when two models are."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name}{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()
