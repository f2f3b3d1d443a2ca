"""zip archives (PKWARE APPNOTE 6.3), read strictly: one disk, stored or deflated files, no gaps to hide anything in.

The list of files is checked wholly before anything is unpacked, and each file against its own header.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, final

from services.datasets.uploaded.limits import MAX_DIRECTORY_BYTES, Limits
from services.errors import DataError

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_END, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")
_ENTRY, _LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
_MOST_COMMENT = 2**16
_ENCRYPTED, _UTF8 = 0x2041, 0x0800
_STORED, _DEFLATED = 0, 8
_FULL = 2**32 - 1
_SYMLINK_SYSTEMS = {3, 19}


@final
@dataclass(frozen=True)
class _Entry:
    raw_name: bytes
    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int


def members(stream: BinaryIO, size: int, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file, in the order in which they lie in the archive."""
    start, length, count = _directory(stream, size)
    limits.check_members(count)
    entries = sorted(_entries(_at(stream, start, length), count), key=lambda entry: entry.offset)
    _check(entries, size, limits)
    end = 0
    for entry in entries:
        if entry.offset < end:
            raise DataError(f"The archive holds files that overlap: {entry.name!r}.", hint="Pack it again.")
        begin = _data_begins(stream, entry)
        end = begin + entry.packed
        if end > start:
            raise _broken(f"{entry.name!r} reaches beyond its end")
        if not entry.name.endswith("/"):
            yield entry.name, _unpack(_at(stream, begin, entry.packed), entry)


def _directory(stream: BinaryIO, size: int) -> tuple[int, int, int]:
    """Where the list of files begins, its bytes, and how many files it names."""
    tail_size = min(size, _MOST_COMMENT + _END.size)
    tail = _at(stream, size - tail_size, tail_size)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or place + _END.size > len(tail):
        raise _broken("it has no list of files; it was cut off")
    _, disk, first, here, count, length, start, comment = _END.unpack_from(tail, place)
    end = size - tail_size + place
    if end + _END.size + comment != size or disk or first or here != count:
        raise _broken("its end is wrong")
    if count == 0xFFFF or _FULL in {length, start}:
        end, length, start, count = _zip64(stream, end)
    if length > MAX_DIRECTORY_BYTES or start + length != end:
        raise _broken("its list of files is not where it should be")
    return start, length, count


def _zip64(stream: BinaryIO, end: int) -> tuple[int, int, int, int]:
    if end < 20 or (locator := _at(stream, end - 20, 20))[:4] != b"PK\x06\x07":
        raise _broken("its end is wrong")
    place = int.from_bytes(locator[8:16], "little")
    if place + _END64.size != end - 20:
        raise _broken("its end is wrong")
    magic, _, _, _, disk, first, here, count, length, start = _END64.unpack(_at(stream, place, _END64.size))
    if magic != b"PK\x06\x06" or disk or first or here != count:
        raise _broken("its end is wrong")
    return place, length, start, count


def _entries(directory: bytes, count: int) -> Iterator[_Entry]:
    place = 0
    for _ in range(count):
        if place + _ENTRY.size > len(directory):
            raise _broken("its list of files is too short")
        fields = _ENTRY.unpack_from(directory, place)
        name, extra, comment = fields[10:13]
        place += _ENTRY.size
        if fields[0] != b"PK\x01\x02" or place + name + extra + comment > len(directory):
            raise _broken("its list of files is wrong")
        yield _entry(fields, directory[place : place + name], directory[place + name : place + name + extra])
        place += name + extra + comment
    if place != len(directory):
        raise _broken("its list of files is longer than it says")


def _entry(fields: tuple[Any, ...], raw: bytes, extra: bytes) -> _Entry:
    _, made_by, _, flags, method, _, _, crc, packed, size, _, _, _, disk, _, mode, offset = fields
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = raw.decode("cp437" if not flags & _UTF8 else "latin-1")
    if flags & _ENCRYPTED:
        raise DataError(f"{name[:80]!r} in the archive is encrypted.", hint="Pack it without a password.")
    if method not in {_STORED, _DEFLATED}:
        raise DataError(
            f"{name[:80]!r} in the archive is packed by method {method}; stored and deflated files are read.",
            hint="Pack it with the method Deflate.",
        )
    size, packed, offset = _wide(size, packed, offset, extra)
    if disk:
        raise _broken("it is one of several parts")
    return _Entry(raw, name, method, crc, packed, size, offset, mode >> 16 if made_by >> 8 in _SYMLINK_SYSTEMS else 0)


def _wide(size: int, packed: int, offset: int, extra: bytes) -> tuple[int, int, int]:
    """Numbers beyond 32 bits stand in an extra field, in this order, each only where it is needed."""
    if _FULL not in (size, packed, offset):
        return size, packed, offset
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            wide = list(struct.iter_unpack("<Q", extra[place + 4 : place + 4 + length // 8 * 8]))
            values = [wide.pop(0)[0] if value == _FULL and wide else value for value in (size, packed, offset)]
            return values[0], values[1], values[2]
        place += 4 + length
    raise _broken("a size is missing")


def _check(entries: list[_Entry], size: int, limits: Limits) -> None:
    for entry in entries:
        kind = stat.S_IFMT(entry.mode)
        if kind == stat.S_IFLNK:
            raise DataError(f"The archive holds a symbolic link: {entry.name[:80]!r}.", hint="Pack plain files only.")
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise DataError(f"The archive holds a device or pipe: {entry.name[:80]!r}.", hint="Pack plain files only.")
        limits.check_member(entry.name, entry.size)
    total = sum(entry.size for entry in entries)
    if total > limits.unpacked(size):
        raise DataError(
            f"The archive of {size:,} bytes unpacks to {total:,}, more than {limits.unpacked(size):,}; "
            "nothing of it is read.",
            hint="Split the data into smaller archives, or pack them with less compression.",
        )


def _data_begins(stream: BinaryIO, entry: _Entry) -> int:
    magic, _, flags, method, *_, name, extra = _LOCAL.unpack(_at(stream, entry.offset, _LOCAL.size))
    place = entry.offset + _LOCAL.size
    if magic != b"PK\x03\x04" or method != entry.method or _at(stream, place, name) != entry.raw_name:
        raise _broken(f"{entry.name!r} has a wrong header")
    if flags & _ENCRYPTED:
        raise DataError(f"{entry.name[:80]!r} in the archive is encrypted.", hint="Pack it without a password.")
    begin: int = place + name + extra
    return begin


def _unpack(packed: bytes, entry: _Entry) -> bytes:
    if entry.method == _STORED:
        data = packed
    else:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        data = inflater.decompress(packed, entry.size + 1)
        if not inflater.eof and len(data) == entry.size:
            # The end of the stream may still be to come when all bytes are there.
            data += inflater.decompress(inflater.unconsumed_tail, 1)
        if not inflater.eof or inflater.unused_data:
            raise _broken(f"{entry.name!r} is longer or shorter than it says")
    if len(data) != entry.size or zlib.crc32(data) != entry.crc:
        raise _broken(f"{entry.name!r} is not what its checksum says")
    return data


def _at(stream: BinaryIO, place: int, size: int) -> bytes:
    stream.seek(place)
    data = stream.read(size)
    if len(data) != size:
        raise _broken("it ends too early")
    return data


def _broken(what: str) -> DataError:
    return DataError(f"The zip archive is broken: {what}.", hint="Upload it again, or pack it again.")
