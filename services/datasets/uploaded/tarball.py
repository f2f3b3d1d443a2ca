"""tar archives (POSIX ustar and pax, GNU long names), read forwards: plain files and folders, and nothing else."""

from collections.abc import Callable, Iterator

from services.datasets.uploaded.limits import Limits
from services.errors import DataError

MAGIC = b"ustar"
_BLOCK = 512
_MOST_EXTRA = 2**16
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a named pipe",
    b"S": "a sparse file",
    b"K": "a link with a long name",
}
Read = Callable[[int], bytes]


def members(read: Read, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each plain file."""
    long_name: str | None = None
    size_override: int | None = None
    count = 0
    while (header := _header(read)) is not None:
        count += 1
        limits.check_members(count)
        kind, name, size = header[156:157], long_name or _name(header), size_override
        size = _number(header[124:136]) if size is None else size
        if kind in {b"x", b"g", b"L"}:
            content = _content(read, size, "a header", _MOST_EXTRA)
            if kind == b"L":
                long_name = _text(content.rstrip(b"\0"))
            elif kind == b"x":
                long_name, size_override = _pax(content, long_name)
            continue
        long_name = size_override = None
        if kind in _REFUSED:
            hint = "Pack plain files and folders only."
            raise DataError(f"The archive holds {_REFUSED[kind]}: {name[:80]!r}.", hint=hint)
        if kind == b"5":
            _content(read, size, name, 0)
        elif kind in {b"0", b"\0", b"7"}:
            limits.check_member(name, size)
            yield name, _content(read, size, name, limits.member_bytes)
        else:
            raise DataError(f"The archive holds {name[:80]!r} of the unknown type {kind!r}.", hint="Pack it again.")


def _header(read: Read) -> bytes | None:
    header = _exactly(read, _BLOCK)
    if not header.strip(b"\0"):
        if _exactly(read, _BLOCK).strip(b"\0"):
            raise DataError("The tar archive has an empty header in its middle.", hint="Pack it again.")
        return None
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if header[257:262] != MAGIC or _number(header[148:156]) != total:
        raise DataError("The tar archive has a wrong header.", hint="Pack it again.")
    return header


def _name(header: bytes) -> str:
    name = _text(header[:100].split(b"\0")[0])
    prefix = _text(header[345:500].split(b"\0")[0]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if digits.strip(b"01234567"):
        raise DataError("The tar archive has a wrong number in a header.", hint="Pack it again.")
    return int(digits, 8)


def _content(read: Read, size: int, name: str, most: int) -> bytes:
    if size > most:
        raise DataError(f"The archive holds {name[:80]!r} of {size:,} bytes, too many for it.", hint="Pack it again.")
    padded = -(-size // _BLOCK) * _BLOCK
    return _exactly(read, padded)[:size]


def _pax(content: bytes, name: str | None) -> tuple[str | None, int | None]:
    """The name and size that a pax header gives to the next file; its other records change nothing that is read."""
    size = None
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or len(length) > 5 or not 5 <= int(length) <= len(content):
            raise DataError("The tar archive has a wrong pax header.", hint="Pack it again.")
        record = content[len(length) + 1 : int(length)]
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        content = content[int(length) :]
        if key == b"path":
            name = _text(value)
        elif key == b"size" and value.isdigit() and len(value) < 20:
            size = int(value)
        elif key in {b"size", b"linkpath"} or key.startswith(b"GNU.sparse"):
            raise DataError(f"The tar archive has a pax header with {_text(key)!r}.", hint="Pack plain files only.")
    return name, size


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"The archive holds a name that is not UTF-8: {data[:40]!r}.", hint="Rename it.") from error


def _exactly(read: Read, size: int) -> bytes:
    parts, left = [], size
    while left:
        data = read(min(left, 2**20))
        if not data:
            raise DataError("The tar archive ends too early.", hint="Upload it again; it was cut off.")
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
