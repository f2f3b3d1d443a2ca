"""Uploaded data sets: a kind for each sort of file, what a file holds, and a source whose card follows from that.

Nothing here trusts a file: whatever it holds, `survey` answers with its findings or with a DataError that says why the
file is refused. Nothing of a file is ever executed, and nothing of it is written anywhere.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from services.datasets.base import Source
from services.datasets.splits import Split
from services.datasets.uploaded.arrays import Arrays
from services.datasets.uploaded.kind import Survey, Uploaded
from services.datasets.uploaded.pictures import Pictures
from services.datasets.uploaded.recognise import recognise
from services.datasets.uploaded.recordings import Recordings
from services.datasets.uploaded.series import Series
from services.datasets.uploaded.table import Table
from services.datasets.uploaded.texts import Texts
from services.errors import DataError, Invalid
from services.names import lookup

__all__ = ["KINDS", "Survey", "Uploaded", "recognise", "source", "survey"]

_KINDS: tuple[type[Uploaded], ...] = (Table, Series, Pictures, Recordings, Texts, Arrays)
KINDS: Mapping[str, type[Uploaded]] = MappingProxyType({kind.kind: kind for kind in _KINDS})
"""Every kind by its name; `docs` says what it is, `options_type` what a job may say about it."""

MAX_COMPARED_VALUES = 2**27
"""Numbers in the rows of a data set whose parts are compared with each other in its report."""


def survey(file: Path, kind: str | None = None) -> Survey:
    """Read `file` strictly, as `kind` or as what its content looks like.

    The report's `split` says what a job with default options and default split would learn from: see
    `services.datasets.report`. DataError says why a file is refused; NotFound lists the kinds.
    """
    chosen = lookup("kind of data set", kind, KINDS, {}) if kind is not None else KINDS[recognise(file)]
    try:
        found = chosen.survey(file)
        made = chosen("upload", found.facts, file)
        found.report["split"] = _compared(made)
    except Invalid as error:
        first = error.mistakes[0]
        raise DataError(
            f"{first.message[:1].upper()}{first.message[1:]}.", hint=first.hint or "Upload more rows."
        ) from error
    except OSError as error:
        raise DataError(f"The file cannot be read: {error}.", hint="Upload it again.") from error
    return found


def source(name: str, kind: str, facts: Mapping[str, Any], file: Path | None) -> Source:
    """The uploaded data set `name` as a source of data like any other: cards from `facts` alone, rows from `file`."""
    return lookup("kind of data set", kind, KINDS, {}).of(name, facts, file)


def _compared(made: Uploaded) -> dict[str, Any] | None:
    from services.datasets.options import parse
    from services.datasets.report import report_on

    card = made.card
    values = card.train + card.test + card.validation
    for axis in card.input_shape:
        values *= axis
    if values > MAX_COMPARED_VALUES:
        return None
    content = made.read(Path(), None, parse(made.options_type, made.facts.get("suggested")))
    return report_on(card, content, Split()).to_json()
