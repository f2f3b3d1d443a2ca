"""Arrays in NumPy's .npy format (versions 1.0 to 3.0), parsed strictly: plain numbers or texts, and never a pickle.

A header is matched against the one form that it may have; nothing of it is evaluated. Its shape must account for
every byte of the file before anything is set aside for the values.
"""

import re
from math import prod
from typing import final

import numpy as np

from services.datasets.base import Array
from services.errors import DataError

MAGIC = b"\x93NUMPY"
MAX_HEADER = 2**16
"""Bytes of a header."""
MAX_AXES = 8
"""Axes of an array."""
MAX_TEXT = 256
"""Characters of a text in an array."""
_ITEM = (
    r"'descr'\s*:\s*'(?P<descr>[^']{1,16})'|'fortran_order'\s*:\s*(?P<order>True|False)|"
    r"'shape'\s*:\s*\((?P<shape>[0-9, L]*)\)"
)
_UNNAMED = re.sub(r"\?P<[a-z]+>", "?:", _ITEM)
_FORM = re.compile(rf"\s*\{{\s*(?:{_UNNAMED})(?:\s*,\s*(?:{_UNNAMED}))*\s*,?\s*\}}\s*")
_DTYPE = re.compile(r"(?P<order>[<>|=])(?P<kind>[biufU])(?P<size>[0-9]{1,4})")
_SIZES = {"b": {1}, "i": {1, 2, 4, 8}, "u": {1, 2, 4, 8}, "f": {2, 4, 8}}
_KEYS = {"descr", "order", "shape"}


@final
class Header:
    """What a .npy file says about itself."""

    def __init__(self, head: bytes, name: str) -> None:
        """From the first bytes of a file; DataError says what is wrong with them."""
        text, self.size = _text(head, name)
        found = _fields(text, name)
        self.dtype = _dtype(found["descr"], name)
        self.fortran = found["order"] == "True"
        axes = [axis.strip().removesuffix("L") for axis in found["shape"].split(",") if axis.strip()]
        if len(axes) > MAX_AXES or not all(re.fullmatch(r"[0-9]{1,15}", axis) for axis in axes):
            raise _broken(name, f"its shape is ({found['shape'][:60]})")
        self.shape = tuple(int(axis) for axis in axes)

    @property
    def bytes(self) -> int:
        """The bytes of the values."""
        return prod(self.shape) * self.dtype.itemsize


def parse_npy(data: bytes, name: str) -> Array:
    """The array in `data`, which is not copied; DataError says what is wrong with it."""
    header = Header(data[: MAX_HEADER + 12], name)
    if header.bytes != len(data) - header.size:
        said = f"a shape of {header.shape} needs {header.bytes:,} bytes, and {len(data) - header.size:,} follow"
        raise _broken(name, said)
    values = np.frombuffer(data, header.dtype, offset=header.size)
    values = values.reshape(header.shape, order="F" if header.fortran else "C")
    if header.dtype.kind == "b":
        truths: Array = values.view(np.uint8) != 0
        return truths
    return _texts(values, name) if header.dtype.kind == "U" else values


def _text(head: bytes, name: str) -> tuple[str, int]:
    if not head.startswith(MAGIC) or len(head) < 12:
        raise _broken(name, f"it begins with {head[:8].hex()}, not with {MAGIC.hex()}")
    version = tuple(head[6:8])
    if version not in {(1, 0), (2, 0), (3, 0)}:
        raise _broken(name, f"it has the version {version[0]}.{version[1]}; 1.0, 2.0 and 3.0 are read")
    begin = 10 if version == (1, 0) else 12
    length = int.from_bytes(head[8:begin], "little")
    if length > MAX_HEADER or begin + length > len(head):
        raise _broken(name, f"its header has {length:,} bytes")
    text = head[begin : begin + length]
    if not text.isascii():
        raise _broken(name, "its header names fields of records")
    return text.decode("ascii"), begin + length


def _fields(text: str, name: str) -> dict[str, str]:
    if "'|O" in text or "'O" in text:
        raise DataError(
            f"{name} holds Python objects, which only a program could make of it; it is refused.",
            hint="Save arrays of plain numbers.",
        )
    if not _FORM.fullmatch(text):
        raise _broken(name, "its header is not that of an array of plain numbers")
    found: dict[str, str] = {}
    for match in re.finditer(_ITEM, text):
        for key, value in match.groupdict().items():
            if value is not None and key in found:
                raise _broken(name, "its header says the same thing twice")
            if value is not None:
                found[key] = value
    if found.keys() != _KEYS:
        raise _broken(name, "its header lacks descr, fortran_order or shape")
    return found


def _dtype(descr: str, name: str) -> "np.dtype[np.generic]":
    match = _DTYPE.fullmatch(descr)
    size = int(match["size"]) if match else 0
    if match is None or not (
        size in _SIZES.get(match["kind"], set()) or (match["kind"] == "U" and 1 <= size <= MAX_TEXT)
    ):
        hint = "Save booleans, whole numbers, or floats of 16 to 64 bits; labels may be texts."
        raise DataError(f"{name} holds values of the type {descr!r}, which is not read.", hint=hint)
    return np.dtype(descr)


def _texts(values: Array, name: str) -> Array:
    """The same texts, when every code point is one."""
    points = np.ascontiguousarray(values).view(values.dtype.byteorder.replace("|", "=") + "u4")
    if points.size and (int(points.max()) > 0x10FFFF or ((points >= 0xD800) & (points < 0xE000)).any()):
        raise _broken(name, "it holds texts with characters that are none")
    return values


def _broken(name: str, what: str) -> DataError:
    return DataError(f"{name} is not a good .npy file: {what}.", hint="Write it with numpy.save.")
