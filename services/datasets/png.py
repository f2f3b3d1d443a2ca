"""PNG pictures with eight bits each of red, green and blue, read strictly: the format's own order of bytes and filters.

W3C PNG specification, third edition: chunks with checksums; each row of pixels begins with the number of its filter.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from services.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 50_000_000
_KNOWN = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_BYTES = 3

Rows = np.ndarray[Any, np.dtype[np.uint8]]


def parse_png(data: bytes, name: str) -> Rows:
    """The pixels uint8 (height, width, 3) of a picture; DataError says what is wrong with the file."""
    if data[:8] != SIGNATURE:
        raise _broken(name, f"starts with the bytes {data[:8].hex()}, not {SIGNATURE.hex()}")
    chunks = list(_chunks(data, name))
    if not chunks or chunks[0][0] != b"IHDR" or chunks[-1] != (b"IEND", b""):
        raise _broken(name, "does not begin with the chunk IHDR and end with IEND")
    kinds = [kind for kind, _ in chunks]
    if kinds.count(b"IHDR") > 1 or kinds.count(b"IEND") > 1 or not _together(kinds):
        raise _broken(name, "repeats IHDR or IEND, or has no pixels, or pixels in two places")
    width, height = _header(chunks[0][1], name)
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    return _unfilter(_unpack(packed, height, 1 + _BYTES * width, name), name).reshape(height, width, _BYTES)


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(data):
        if place + 12 > len(data):
            raise _broken(name, "ends inside a chunk")
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        end = place + 12 + length
        if end > len(data):
            raise _broken(name, f"ends inside the chunk {kind!r}")
        if zlib.crc32(kind + content) != int.from_bytes(data[end - 4 : end], "big"):
            raise _broken(name, f"has a wrong checksum in the chunk {kind!r}")
        if kind not in _KNOWN and not kind[0] & 0x20:
            raise _broken(name, f"needs the unknown chunk {kind!r}")
        yield kind, content
        place = end


def _together(kinds: list[bytes]) -> bool:
    places = [number for number, kind in enumerate(kinds) if kind == b"IDAT"]
    return bool(places) and places[-1] - places[0] == len(places) - 1


def _header(header: bytes, name: str) -> tuple[int, int]:
    if len(header) != 13:
        raise _broken(name, f"has a header of {len(header)} bytes, not 13")
    width, height, depth, colour, packing, filters, interlace = struct.unpack(">IIBBBBB", header)
    if not 1 <= width * height <= MAX_PIXELS:
        raise _broken(name, f"announces {width} × {height} pixels; 1 to {MAX_PIXELS:,} are read")
    if (depth, colour) != (8, 2):
        raise _broken(name, f"has {depth} bits of colour type {colour}; 8 bits of red, green and blue are read")
    if (packing, filters, interlace) != (0, 0, 0):
        raise _broken(name, f"has compression {packing}, filters {filters}, interlacing {interlace}; 0 is read")
    return width, height


def _unpack(packed: bytes, height: int, stride: int, name: str) -> Rows:
    # One byte more than announced is asked for: whatever the file claims, no more memory than that is taken.
    size, unpacker = height * stride, zlib.decompressobj()
    try:
        values = unpacker.decompress(packed, size + 1)
    except zlib.error as error:
        raise _broken(name, f"has damaged pixels: {error}") from error
    if len(values) != size or not unpacker.eof or unpacker.unused_data:
        raise _broken(name, f"has more or less than the {size} bytes of pixels that its header announces")
    return np.frombuffer(values, np.uint8).reshape(height, stride)


def _unfilter(rows: Rows, name: str) -> Rows:
    pixels = np.empty((len(rows), rows.shape[1] // _BYTES, _BYTES), np.uint8)
    above = np.zeros_like(pixels[0])
    for kind, row, target in zip(rows[:, 0].tolist(), rows[:, 1:].reshape(pixels.shape), pixels, strict=True):
        match kind:
            case 0:
                target[:] = row
            case 1:
                np.add.accumulate(row, axis=0, dtype=np.uint8, out=target)
            case 2:
                np.add(row, above, out=target)
            case 3 | 4:
                target[:] = _average(row, above) if kind == 3 else _paeth(row, above)
            case _:
                raise _broken(name, f"has a row with the filter {kind}; 0 to 4 are known")
        above = target
    return pixels


def _average(row: Rows, above: Rows) -> Rows:
    lanes = []
    for values, ups in zip(row.T.tolist(), above.T.tolist(), strict=True):
        left, lane = 0, []
        for value, up in zip(values, ups, strict=True):
            left = (value + (left + up) // 2) & 255
            lane.append(left)
        lanes.append(lane)
    return np.array(lanes, np.uint8).T


def _paeth(row: Rows, above: Rows) -> Rows:
    lanes = []
    for values, ups in zip(row.T.tolist(), above.T.tolist(), strict=True):
        left = corner = 0
        lane = []
        for value, up in zip(values, ups, strict=True):
            # Distances of left + up - corner from left, up and corner; on a tie, the first of them.
            a, b, c = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            guess = left if a <= b and a <= c else up if b <= c else corner
            left, corner = (value + guess) & 255, up
            lane.append(left)
        lanes.append(lane)
    return np.array(lanes, np.uint8).T


def _broken(name: str, what: str) -> DataError:
    return DataError(f"{name} is not a good PNG picture: it {what}.", hint="8-bit RGB without interlacing is read.")
