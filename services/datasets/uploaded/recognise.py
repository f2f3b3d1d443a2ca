"""Which kind of data set a file is, by what it holds and never by its name."""

from itertools import islice
from pathlib import Path

import numpy as np

from services.datasets.uploaded import archive, cells
from services.datasets.uploaded.npy import MAGIC
from services.datasets.uploaded.pictures import is_picture
from services.datasets.uploaded.recordings import is_recording
from services.datasets.uploaded.series import TIME_NAMES
from services.datasets.uploaded.sheet import Sheet, beginning, recognised, widths
from services.datasets.uploaded.texts import has_tabs, is_labelled
from services.datasets.uploaded.timeline import timeline
from services.errors import DataError

_MEMBERS_LOOKED_AT = 1_000
_WORDS_OF_A_TEXT = 3


def recognise(file: Path) -> str:
    """The kind's name; DataError for a file that is of no kind."""
    with file.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(MAGIC):
        return "arrays"
    if archive.is_archive(file):
        return _archived(file)
    if is_picture("", head) or is_recording("", head):
        raise DataError(
            "The file is a single picture or recording.",
            hint="Pack many of them as zip or tar.gz, one folder for each class.",
        )
    return _written(file, beginning(file))


def _archived(file: Path) -> str:
    for name, data in islice(archive.members(file), _MEMBERS_LOOKED_AT):
        if data.startswith(MAGIC) or name.endswith(".npy"):
            return "arrays"
        if is_picture(name, data):
            return "images"
        if is_recording(name, data):
            return "audio"
    raise DataError(
        "The archive holds no pictures, recordings or arrays.",
        hint="Pack one folder for each class with PNG, JPEG, GIF, BMP, WebP, WAV, FLAC or OGG files in it.",
    )


def _written(file: Path, head: str) -> str:
    delimiter = recognised(head)
    if delimiter is None or not _is_regular(head, delimiter):
        lines = [line for line in head.split("\n") if line.strip()]
        if delimiter is None and all(len(line.split()) == 1 and any(map(str.isdigit, line)) for line in lines[1:]):
            raise DataError(
                "The file is a table with one column.",
                hint="A table needs a column to predict and at least one to predict it from.",
            )
        return "table" if delimiter is not None and _begins_as_table(head, delimiter) else "text"
    if is_labelled(file) and (not has_tabs(head) or _are_texts(head)):
        return "text"
    return "series" if _is_series(Sheet.open(file)) else "table"


def _is_regular(head: str, delimiter: str) -> bool:
    return len(set(widths(head, delimiter))) == 1


def _begins_as_table(head: str, delimiter: str) -> bool:
    """Whether all but a few rows have the cells of the header: a table with a mistake, and no prose with commas."""
    found = widths(head, delimiter)
    return found[0] > 1 and found.count(found[0]) >= max(2, len(found) / 2)


def _are_texts(head: str) -> bool:
    """Whether lines with a tab are a label and a sentence each, and no table of two columns."""
    lines = [line.split("\t") for line in head.split("\n") if line.strip()]
    if any(len(line) != 2 for line in lines):
        return False
    return sum(len(line[1].split()) for line in lines) >= _WORDS_OF_A_TEXT * len(lines)


def _is_series(sheet: Sheet) -> bool:
    """Whether the first column is dates, or counts time, and goes on in regular steps."""
    batch = next(sheet.batches(), None)
    if batch is None or len(batch) < 3:
        return False
    time = cells.column(batch.columns[0])
    dates = not time.null_count() and cells.are_dates(time)
    if time.null_count() or not (dates or (sheet.header[0].lower() in TIME_NAMES and cells.are_numbers(time))):
        return False
    others = [cells.column(column) for column in batch.columns[1:]]
    if not any(column.null_count() < len(column) and cells.are_numbers(column) for column in others):
        return False
    moments = cells.seconds(time) if dates else cells.numbers(time, batch.lines, sheet.header[0])
    try:
        timeline(moments, np.array(batch.lines), dates, sheet.header[0])
    except DataError:
        return False
    return True
