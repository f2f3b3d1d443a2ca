"""Rows of a data set in a form to show: pictures as PNG, tables by column, long series thinned out."""

import base64
import io
from typing import Any, Final

import numpy as np

from services.datasets.base import Array, Card, Dealt

MOST: Final = 12
_POINTS: Final = 256
_LETTERS: Final = 500


def previews(card: Card, dealt: Dealt) -> list[dict[str, Any]]:
    """The first dozen rows of the train part, as they are before any preprocessing."""
    x, y = dealt.train.x[:MOST], dealt.train.y[:MOST]
    return [{"x": _seen(card, one, x), "y": _target(card, answer)} for one, answer in zip(x, y, strict=True)]


def _seen(card: Card, row: Any, rows: Array) -> Any:
    if isinstance(row, str):
        return row[:_LETTERS]
    if rows.dtype.names is not None:
        return {name: _plain(row[name]) for name in rows.dtype.names}
    if card.kind == "image" and row.ndim == 3:
        return _picture(row, rows)
    if card.kind == "text":
        return "".join(map(chr, row.ravel()[:_LETTERS]))
    if card.features is not None and row.ndim == 1 and len(card.features) == len(row):
        return {name: _plain(cell) for name, cell in zip(card.features, row, strict=True)}
    return _thinned(row)


def _target(card: Card, y: Any) -> Any:
    if card.classes is not None:
        if card.kind == "text" and np.ndim(y):
            return "".join(map(chr, y.ravel()[:_LETTERS]))
        return card.classes[int(y)]
    values = [_plain(value) for value in np.ravel(y)[:_POINTS]]
    return dict(zip(card.target_names, values, strict=False)) if len(card.target_names) == len(values) else values


def _picture(row: Array, rows: Array) -> str:
    """A PNG as a data URL; the brightest value of all rows is white."""
    from PIL import Image

    top = float(rows.max()) or 1.0
    pixels = np.clip(row.astype(np.float64) * (255 / (255 if 16 < top <= 255 else top)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _thinned(row: Array) -> Any:
    """Numbers as nested lists, every so many steps."""
    return _rounded(row[:: -(-len(row) // _POINTS) or 1].tolist())


def _rounded(value: Any) -> Any:
    return [_rounded(item) for item in value] if isinstance(value, list) else _plain(value)


def _plain(value: Any) -> Any:
    """A cell as JSON has it: gaps are null, numbers have six digits."""
    found = value.item() if hasattr(value, "item") else value
    if isinstance(found, float):
        return float(f"{found:.6g}") if np.isfinite(found) else None
    return found or None if isinstance(found, str) else found
