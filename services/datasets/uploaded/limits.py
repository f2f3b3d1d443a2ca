"""How much an archive may hold."""

from dataclasses import dataclass
from typing import final

from services.errors import DataError

MAX_MEMBERS = 200_000
"""Files and folders in an archive."""
MAX_MEMBER_BYTES = 256 * 2**20
"""Bytes of one file of an archive, unpacked."""
MAX_UNPACKED_BYTES = 8 * 2**30
"""Bytes of all files of an archive, unpacked."""
MAX_RATIO = 100
"""How many times larger than the archive its files may be, unpacked ..."""
FREE_BYTES = 16 * 2**20
"""... where they have more bytes than this."""
MAX_DIRECTORY_BYTES = 64 * 2**20
"""Bytes of a zip archive's list of files."""


@final
@dataclass(frozen=True)
class Limits:
    """The limits that one sort of archive is read under."""

    members: int = MAX_MEMBERS
    member_bytes: int = MAX_MEMBER_BYTES
    unpacked_bytes: int = MAX_UNPACKED_BYTES
    ratio: int = MAX_RATIO

    def unpacked(self, size: int) -> int:
        """The most bytes that an archive of `size` bytes may unpack to."""
        return min(self.unpacked_bytes, max(FREE_BYTES, self.ratio * size))

    def check_members(self, count: int) -> None:
        """DataError for too many files."""
        if count > self.members:
            raise DataError(f"The archive holds more than {self.members:,} files.", hint="Split it.")

    def check_member(self, name: str, size: int) -> None:
        """DataError for a file that is too large."""
        if size > self.member_bytes:
            raise DataError(
                f"{name[:80]!r} in the archive has {size:,} bytes; at most {self.member_bytes:,} are read.",
                hint="Leave it out or split it.",
            )
