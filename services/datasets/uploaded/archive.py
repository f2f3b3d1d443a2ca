"""Files out of an uploaded zip or tar archive: read into memory one by one and never written anywhere.

Names are labels and nothing else; what could only be meant to harm is refused before it is unpacked.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, final

from services.datasets.uploaded import tarball, zipball
from services.datasets.uploaded.limits import Limits
from services.errors import DataError

GZIP = b"\x1f\x8b"
_NESTED = {
    b"PK\x03\x04": "zip",
    GZIP: "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_DRIVE = re.compile(r"[A-Za-z]:")
_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


def is_archive(file: Path) -> bool:
    """Whether the file is a zip, tar or tar.gz archive by its first bytes."""
    with file.open("rb") as stream:
        head = stream.read(512)
    return head.startswith((*zipball.MAGICS, GZIP)) or head[257:262] == tarball.MAGIC


def members(file: Path, limits: Limits = Limits()) -> Iterator[tuple[str, bytes]]:  # noqa: B008 - frozen
    """Name and bytes of each file, in the archive's order; DataError says why the archive is refused.

    Files of the operating system (.DS_Store and the like) are left out.
    """
    seen: set[str] = set()
    try:
        with file.open("rb") as stream:
            for name, data in _unpacked(stream, file.stat().st_size, limits):
                label = checked(name)
                if label in seen:
                    raise DataError(f"The archive holds {label!r} twice.", hint="Pack it again.")
                seen.add(label)
                _refuse_nested(label, data)
                if not any(part in _JUNK or part.startswith("._") for part in label.split("/")):
                    yield label, data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"The archive is broken: {error or 'it ends too early'}.", hint="Pack it again.") from error


def _unpacked(stream: BinaryIO, size: int, limits: Limits) -> Iterator[tuple[str, bytes]]:
    head = stream.read(512)
    stream.seek(0)
    if head.startswith(zipball.MAGICS):
        yield from zipball.members(stream, size, limits)
    elif head.startswith(GZIP):
        with gzip.GzipFile(fileobj=stream, mode="rb") as unpacked:
            bounded = _Bounded(unpacked, size, limits)
            yield from tarball.members(bounded.read, limits)
            bounded.drain()
    elif head[257:262] == tarball.MAGIC:
        yield from tarball.members(stream.read, limits)
    else:
        raise DataError("The file is no zip, tar or tar.gz archive.", hint="Pack the files as zip or tar.gz.")


def checked(name: str) -> str:
    """The name as a label; DataError for one that leads out of the archive's folder, or cannot be shown."""
    plain = name.removeprefix("./")
    parts = plain.split("/")
    if plain.startswith("/") or _DRIVE.match(plain) or "\\" in plain:
        raise DataError(
            f"The archive holds {name[:80]!r}, an absolute name.", hint="Pack a folder with relative names."
        )
    if ".." in parts:
        raise DataError(
            f"The archive holds {name[:80]!r}, which leads out of its folder.",
            hint="Pack a folder with relative names.",
        )
    if not plain or len(plain) > 512 or not plain.isprintable() or "" in parts or "." in parts:
        raise DataError(f"The archive holds a file named {name[:80]!r}, which is no good name.", hint="Rename it.")
    return plain


def _refuse_nested(name: str, data: bytes) -> None:
    kind = next((kind for magic, kind in _NESTED.items() if data.startswith(magic)), None)
    if kind is None and data[257:262] == tarball.MAGIC:
        kind = "tar"
    if kind is not None:
        raise DataError(f"The archive holds another archive: {name!r} ({kind}).", hint="Unpack it before packing.")


@final
class _Bounded:
    """An unpacked stream that gives no more bytes than its packed size allows."""

    def __init__(self, stream: gzip.GzipFile, size: int, limits: Limits) -> None:
        self.stream, self.size = stream, size
        self.most = limits.unpacked(size)
        self.left = self.most

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DataError(
                f"The archive of {self.size:,} bytes unpacks to more than {self.most:,}; no more are read.",
                hint="Split the data into smaller archives.",
            )
        return data

    def drain(self) -> None:
        """Read to the end, where gzip keeps its checksum."""
        while self.read(2**16):
            pass
