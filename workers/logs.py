"""The trainer's own output as log lines: whole, printable, and bounded however much it prints."""

from collections.abc import Iterator
from typing import Final, final

from services.logs import escaped

LINE_CHARS: Final = 2_000
ATTEMPT_LINES: Final = 10_000
ATTEMPT_CHARS: Final = 2_000_000


def printable(text: str, limit: int = LINE_CHARS) -> str:
    """`text` in one line of at most about `limit` characters, control characters escaped."""
    cut = len(text) - limit
    kept = escaped(text[:limit])
    return f"{kept} … [{cut} characters cut]" if cut > 0 else kept


@final
class LogTap:
    """Turns the bytes a child prints into bounded lines; memory stays small however long a line gets."""

    def __init__(self, *, line_chars: int = LINE_CHARS, lines: int = ATTEMPT_LINES, chars: int = ATTEMPT_CHARS) -> None:
        """Allow `lines` lines and `chars` characters in all, `line_chars` in each."""
        self._line_chars, self._lines, self._chars = line_chars, lines, chars
        self._rest, self._skipped, self._said_full = bytearray(), 0, False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that `chunk` completes, as far as the allowance goes."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._keep(chunk[start:end])
            yield from self._line()
            start = end + 1
        self._keep(chunk[start:])

    def close(self) -> Iterator[str]:
        """The last line, if it had no line break."""
        if self._rest:
            yield from self._line()

    def admit(self, text: str) -> Iterator[str]:
        """Count one line against the allowance; past it, say so once and be silent."""
        if self._lines > 0 and self._chars > 0:
            text = printable(text, self._line_chars)
            self._lines, self._chars = self._lines - 1, self._chars - len(text)
            yield text
        elif not self._said_full:
            self._said_full = True
            yield "The log is full: the rest of this attempt's output is not kept."

    def _keep(self, piece: bytes) -> None:
        room = max(0, 4 * self._line_chars - len(self._rest))
        self._rest += piece[:room]
        self._skipped += max(0, len(piece) - room)

    def _line(self) -> Iterator[str]:
        text = bytes(self._rest).decode("utf-8", "backslashreplace")
        cut, self._rest, self._skipped = self._skipped, bytearray(), 0
        yield from self.admit(f"{text[: self._line_chars - 40]} … [{cut} bytes cut]" if cut else text.rstrip("\r"))
