"""The idx file format of MNIST, read strictly.

Two zero bytes, a type code, the number of dimensions, one big-endian size for each, then the values in row-major order.

A file that is too short or too long, or announces what the format does not know, is refused with the reason.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from services.errors import DataError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 8
MAX_BYTES = 4 * 2**30
_CHUNK = 1 << 20


def read_idx(path: Path) -> np.ndarray[Any, Any]:
    """The array in the idx file at `path`, gzipped (`.gz`) or plain; DataError says what is wrong with it."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as stream:
                return parse_idx(stream, path.name)
        with path.open("rb") as stream:
            return parse_idx(stream, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="Delete the file and get it again.") from error


def parse_idx(stream: BinaryIO | gzip.GzipFile, name: str) -> np.ndarray[Any, Any]:
    """The array in `stream`, in the machine's byte order; `name` only serves the messages."""
    dtype, shape = _header(stream, name)
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_BYTES:
        raise _broken(name, f"announces {size} bytes of values; more than {MAX_BYTES} are not read")
    values = _read(stream, size)
    if len(values) < size:
        raise _broken(name, f"ends after {len(values)} of {size} bytes of values")
    if stream.read(1):
        raise _broken(name, f"goes on after the {size} bytes of values that its header announces")
    array: np.ndarray[Any, Any] = np.frombuffer(values, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(stream: BinaryIO | gzip.GzipFile, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = _read(stream, 4)
    if len(magic) < 4:
        raise _broken(name, f"is only {len(magic)} bytes long; the header alone takes 4")
    if magic[:2] != b"\0\0":
        raise _broken(name, f"starts with the bytes {magic[:2].hex()}, not 0000")
    if magic[2] not in DTYPES:
        known = ", ".join(f"0x{code:02x}" for code in DTYPES)
        raise _broken(name, f"has the type code 0x{magic[2]:02x}; known: {known}")
    if not 1 <= magic[3] <= MAX_DIMENSIONS:
        raise _broken(name, f"announces {magic[3]} dimensions; 1 to {MAX_DIMENSIONS} are read")
    return np.dtype(DTYPES[magic[2]]), _sizes(stream, magic[3], name)


def _sizes(stream: BinaryIO | gzip.GzipFile, dimensions: int, name: str) -> tuple[int, ...]:
    sizes = _read(stream, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise _broken(name, f"ends inside the sizes of its {dimensions} dimensions")
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def _read(stream: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    # In chunks: a lying header must not make us reserve memory that the file cannot fill.
    data = bytearray()
    while len(data) < size and (chunk := stream.read(min(_CHUNK, size - len(data)))):
        data += chunk
    return data


def _broken(name: str, what: str) -> DataError:
    return DataError(f"{name} is not a good idx file: it {what}.", hint="Get the file again.")
