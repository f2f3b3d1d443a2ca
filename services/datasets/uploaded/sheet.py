"""CSV files row by row (RFC 4180, UTF-8), strictly and in bounded memory: every line has the cells of the header.

Rows come in batches, so a file of `MAX_BYTES` needs no more memory than one batch of it.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, final

from services.errors import DataError

MAX_BYTES = 2 * 2**30
"""Bytes of a CSV file."""
MAX_COLUMNS = 2_048
"""Columns of a CSV file."""
MAX_CELL = 131_072
"""Characters of a cell: what the csv module reads."""
MAX_LINE = 2**20
"""Characters of a line."""
MAX_RECORD = 4 * 2**20
"""Characters of a row that goes on over several lines."""
MAX_NAME = 128
"""Characters of a column's name."""
_BATCH_CELLS, _BATCH_ROWS = 500_000, 20_000
_SNIFFED_LINES, _SNIFFED_BYTES = 100, 2**16
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
SAVE_AS = "Save it as UTF-8 and upload it again."


@final
@dataclass(frozen=True)
class Batch:
    """Rows of a table as texts, column by column; `lines` says where each row ends in the file."""

    columns: list[tuple[str, ...]]
    lines: list[int]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.lines)


@final
@dataclass(frozen=True)
class Sheet:
    """A CSV file: what separates its cells, and the names of its columns."""

    file: Path
    delimiter: str
    header: tuple[str, ...]

    @classmethod
    def open(cls, file: Path) -> "Sheet":
        """Recognise the delimiter and read the header; DataError says what is wrong with them."""
        head = beginning(file)
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise DataError(
                f"The table has {size:,} bytes; at most {MAX_BYTES:,} are read.", hint="Upload a part of it."
            )
        delimiter = recognised(head)
        if delimiter is None:
            raise DataError(
                "The table has only one column, or none that commas, semicolons or tabs separate.",
                hint="A table needs a column to predict and at least one to predict it from.",
            )
        with _opened(file) as stream:
            first = next(_records(stream, delimiter), None)
        return cls(file, delimiter, _header(first[1] if first else []))

    def batches(self) -> Iterator[Batch]:
        """All rows below the header; DataError names the line that is no row."""
        most = max(1, min(_BATCH_ROWS, _BATCH_CELLS // len(self.header)))
        rows: list[list[str]] = []
        lines: list[int] = []
        with _opened(self.file) as stream:
            records = _records(stream, self.delimiter)
            next(records, None)
            for line, row in _whole(records, len(self.header)):
                rows.append(row)
                lines.append(line)
                if len(rows) == most:
                    yield Batch(list(zip(*rows, strict=True)), lines)
                    rows, lines = [], []
        if rows:
            yield Batch(list(zip(*rows, strict=True)), lines)


def beginning(file: Path) -> str:
    """The first lines of a text; DataError for what is none."""
    with file.open("rb") as stream:
        head = stream.read(_SNIFFED_BYTES)
    if not head.strip():
        raise DataError("The file is empty.", hint="Upload the data themselves.")
    for bom, encoding in _BOMS.items():
        if head.startswith(bom):
            raise DataError(f"The file is {encoding}; only UTF-8 is read.", hint=SAVE_AS)
    if b"\0" in head:
        raise DataError("The file is binary, not a text.", hint="A text or a table is UTF-8 text.")
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) < _SNIFFED_BYTES or error.start < len(head) - 4:
            raise _not_utf8(f"byte {error.start:,}") from error
        text = head[: error.start].decode("utf-8-sig")
    if len(head) < _SNIFFED_BYTES:
        return text
    # What was cut off in the middle of a line would look like a broken row.
    return text[: text.rfind("\n") + 1] or text


def recognised(head: str) -> str | None:
    """The delimiter under which the first rows have the same number of cells, more than one; None where none is."""
    found = {delimiter: widths(head, delimiter) for delimiter in DELIMITERS}
    several = {delimiter: cells for delimiter, cells in found.items() if cells and cells[0] > 1}
    return max(several, key=lambda d: (len(set(several[d])) == 1, several[d][0]), default=None)


def widths(head: str, delimiter: str) -> list[int]:
    """The number of cells of each of the first rows, up to one that cannot be read."""
    found: list[int] = []
    try:
        for row in csv.reader(head.splitlines(keepends=True), delimiter=delimiter, strict=True):
            found.append(len(row))
            if len(found) == _SNIFFED_LINES:
                break
    except csv.Error:
        pass
    while found and not found[-1]:
        found.pop()
    return found


def _opened(file: Path) -> TextIO:
    return file.open(encoding="utf-8-sig", newline="")


@final
class _Lines:
    """The lines of a text, none longer than it may be, and no endless row."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.number = self.characters = 0

    def __iter__(self) -> Iterator[str]:
        while line := self.stream.readline(MAX_LINE + 1):
            self.number += 1
            self.characters += len(line)
            if len(line) > MAX_LINE:
                raise DataError(
                    f"Line {self.number:,} has more than {MAX_LINE:,} characters.", hint="Is this a text file?"
                )
            if self.characters > MAX_RECORD:
                raise DataError(
                    f"The row that ends on line {self.number:,} or later has more than {MAX_RECORD:,} characters.",
                    hint='A quotation mark (") may never have been closed.',
                )
            if "\0" in line:
                raise DataError(f"Line {self.number:,} holds a NUL character.", hint="A table is UTF-8 text.")
            yield line


def _records(stream: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    lines = _Lines(stream)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield lines.number, row
            lines.characters = 0
    except csv.Error as error:
        hint = 'Put cells that hold the delimiter, quotation marks or line ends in quotation marks, and write " as "".'
        raise DataError(f"Line {lines.number:,} is no row of a table: {error}.", hint=hint) from error
    except UnicodeDecodeError as error:
        raise _not_utf8(f"line {lines.number + 1:,} or one of the next") from error


def _whole(records: Iterator[tuple[int, list[str]]], width: int) -> Iterator[tuple[int, list[str]]]:
    blank = 0
    for line, row in records:
        if not row:
            blank = blank or line
            continue
        if blank:
            raise DataError(f"Line {blank:,} is empty.", hint="Remove it; only the end may have empty lines.")
        if len(row) != width:
            hint = f"The header has {width} cells; give every row as many. An empty cell is a missing value."
            raise DataError(f"Line {line:,} has {len(row)} cells instead of {width}.", hint=hint)
        yield line, row


def _header(row: list[str]) -> tuple[str, ...]:
    # Tables saved with their row numbers have a column without a name.
    names = [name.strip() or f"column {number}" for number, name in enumerate(row, 1)]
    if len(names) > MAX_COLUMNS:
        raise DataError(
            f"The table has {len(names):,} columns; at most {MAX_COLUMNS:,} are read.", hint="Leave some out."
        )
    if long := [name for name in names if len(name) > MAX_NAME or not name.isprintable()]:
        raise DataError(
            f"The first line names a column {long[0][:40]!r}.",
            hint=f"Names of columns are printable and have at most {MAX_NAME} characters.",
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"The first line names {twice[0]!r} twice.", hint="Give every column a name of its own.")
    if all(_is_number(name) for name in row):
        raise DataError(
            "The first line holds numbers, not the names of the columns.",
            hint="Put a line of names above the first row.",
        )
    return tuple(names)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _not_utf8(where: str) -> DataError:
    return DataError(f"The file is not UTF-8: {where} is not.", hint=SAVE_AS)
