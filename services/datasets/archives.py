"""Files out of a tar archive, read into memory and never written anywhere: links, devices and bombs find no way in."""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, final

from services.errors import DataError

MAX_MEMBERS = 100_000
MAX_BYTES = 2**30
_BLOCK = 1 << 16
_ROOM_PER_MEMBER = 4096


def read_tar(path: Path, wanted: Callable[[str], bool], most: int = MAX_BYTES) -> Iterator[tuple[str, bytes]]:
    """`parse_tar` of the file at `path`."""
    try:
        with path.open("rb") as stream:
            yield from parse_tar(stream, path.name, wanted, most)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def parse_tar(
    stream: BinaryIO, name: str, wanted: Callable[[str], bool], most: int = MAX_BYTES
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each plain file whose name is wanted, in the archive's order; `most` bytes in all, unpacked.

    DataError says what is wrong with the archive.
    """
    try:
        with gzip.open(stream, "rb") as unpacked:
            bounded = _Bounded(unpacked, most, name)
            # Reading a stream forwards takes read() alone, whatever the declared type of a file asks for.
            with tarfile.open(fileobj=bounded, mode="r|") as archive:  # type: ignore[call-overload]
                yield from _members(archive, name, wanted)
            bounded.drain()
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        hint = "Delete the file and get it again."
        raise DataError(f"{name} is not a good tar.gz archive: {error}.", hint=hint) from error


def _members(archive: tarfile.TarFile, name: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for number, member in enumerate(archive):
        if number >= MAX_MEMBERS:
            raise DataError(f"{name} holds more than {MAX_MEMBERS:,} files; no more are read.")
        if not member.isreg() or not wanted(member.name):
            continue
        content = archive.extractfile(member)
        data = b"" if content is None else content.read()
        if len(data) != member.size:
            raise DataError(f"{name} ends inside {member.name}.")
        yield member.name, data


@final
class _Bounded:
    """An unpacked stream that gives no more bytes than it may, whatever sizes the archive claims."""

    def __init__(self, stream: gzip.GzipFile, most: int, name: str) -> None:
        self.stream, self.name, self.most = stream, name, most
        self.left = most + _ROOM_PER_MEMBER * 1024 + most // 8

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"{self.name} unpacks to more than {self.most:,} bytes; no more are read.")
        return data

    def drain(self) -> None:
        """Read to the end, where gzip keeps its checksum."""
        while self.read(_BLOCK):
            pass
