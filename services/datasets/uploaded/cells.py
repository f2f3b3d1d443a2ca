"""What the texts of a table's column stand for: numbers, dates, categories, truths, or plain text.

Every rule is strict: a column of numbers holds nothing but finite numbers and gaps. polars does the work, in batches.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from services.datasets.base import Array
from services.errors import DataError

if TYPE_CHECKING:
    import polars as pl

Type = Literal["number", "date", "bool", "category", "text"]
MISSING = ("", "NA", "N/A", "na", "n/a", "NaN", "nan", "NULL", "null", "?")
"""Cells that stand for a missing value."""
TRUTHS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"))
"""Pairs of words that make a column one of truths."""
NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
COMMA_NUMBER = r"^[+-]?([0-9]+(,[0-9]*)?|,[0-9]+)([eE][+-]?[0-9]{1,3})?$"
INFINITE = r"^(?i)[+-]?inf(inity)?$"
DATE = (
    r"^([0-9]{4}-[0-9]{2}(-[0-9]{2})?|[0-9]{4}/[0-9]{2}/[0-9]{2}|[0-9]{2}\.[0-9]{2}\.[0-9]{4})"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
)
_OFFSET = r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
_CLOCK = r"[0-9]{2}:[0-9]{2}"
_CONTROL = r"[\x00-\x08\x0e-\x1f\x7f]"
_LARGEST = float(np.finfo(np.float32).max)


def column(cells: Sequence[str]) -> "pl.Series":
    """The cells without the blanks around them; missing ones are null."""
    import polars as pl

    texts = pl.Series(cells, dtype=pl.String).str.strip_chars()
    return texts.set(texts.is_in(list(MISSING)), None)


def are_numbers(texts: "pl.Series", comma: bool = False) -> bool:
    """Whether all are numbers (with a decimal comma)."""
    return bool(texts.drop_nulls().str.contains(COMMA_NUMBER if comma else NUMBER).all())


def are_dates(texts: "pl.Series") -> bool:
    """Whether all are dates that exist."""
    present = texts.drop_nulls()
    return bool(present.str.contains(DATE).all()) and not np.isnan(seconds(present)).any()


def have_clock(texts: "pl.Series") -> bool:
    """Whether some of the dates come with a time of day."""
    return bool(texts.drop_nulls().str.contains(_CLOCK).any())


def have_offset(texts: "pl.Series") -> Literal["all", "none", "some"]:
    """Whether dates say their distance from universal time."""
    found = texts.drop_nulls().str.contains(_CLOCK + ".*" + _OFFSET)
    return "all" if found.all() and len(found) else "some" if found.any() else "none"


def numbers(texts: "pl.Series", lines: Sequence[int], name: str, comma: bool = False, checked: bool = False) -> Array:
    """float64, NaN where nothing is known; DataError names the line of what is no number or too large for float32."""
    import polars as pl

    if not checked and not are_numbers(texts, comma):
        pattern = COMMA_NUMBER if comma else NUMBER
        raise _at(~texts.fill_null("0").str.contains(pattern).to_numpy(), texts, lines, name, "is no number")
    plain = texts.str.replace(",", ".", literal=True) if comma else texts
    values: Array = plain.cast(pl.Float64, strict=False).cast(pl.Float64).to_numpy().astype(np.float64)
    if (bad := np.abs(values) > _LARGEST).any():
        raise _at(bad, texts, lines, name, "is too large")
    return values


def refuse_infinite(texts: "pl.Series", lines: Sequence[int], name: str) -> None:
    """DataError when a column of numbers holds infinities."""
    present = texts.drop_nulls()
    infinite = present.str.contains(INFINITE)
    if infinite.any() and are_numbers(present.filter(~infinite)) and not infinite.all():
        bad = texts.fill_null("0").str.contains(INFINITE).to_numpy()
        raise _at(bad, texts, lines, name, "is not finite")


def refuse_control(texts: "pl.Series", lines: Sequence[int], name: str) -> None:
    """DataError when cells hold characters that no text has."""
    bad = texts.fill_null("").str.contains(_CONTROL)
    if bad.any():
        raise _at(bad.to_numpy(), texts, lines, name, "holds control characters")


def seconds(texts: "pl.Series") -> Array:
    """Dates as seconds since 1970, in universal time where an offset is given; NaN for what is none."""
    import polars as pl

    frame = pl.DataFrame({"t": texts})
    date = pl.col("t").str.replace(_CLOCK + r".*$", "").str.strip_chars_end("T ")
    ymd = date.str.replace(r"^([0-9]{2})\.([0-9]{2})\.([0-9]{4})$", "${3}-${2}-${1}").str.replace_all("/", "-")
    day = pl.when(ymd.str.len_chars() == 7).then(ymd + "-01").otherwise(ymd).str.to_date("%Y-%m-%d", strict=False)
    clock = pl.col("t").str.extract(r"[T ](" + _CLOCK + r"[0-9:.]*)", 1).fill_null("00:00")
    part = [clock.str.extract(r"^(?:[0-9]+:){%d}([0-9.]+)" % place, 1).cast(pl.Float64) for place in range(3)]  # noqa: UP031
    hours, minutes, rest = part[0], part[1], part[2].fill_null(0.0)
    offset = pl.col("t").str.extract(_CLOCK + r".*([+-][0-9]{2}:?[0-9]{2})$", 1).str.replace(":", "")
    east = offset.str.slice(1, 2).cast(pl.Float64) * 3600 + offset.str.slice(3, 2).cast(pl.Float64) * 60
    away = pl.when(offset.str.starts_with("-")).then(-east).otherwise(east).fill_null(0.0)
    good = (hours < 24) & (minutes < 60) & (rest < 60)
    total = day.cast(pl.Int64) * 86_400 + hours * 3600 + minutes * 60 + rest - away
    found = frame.select(pl.when(good).then(total)).to_series()
    return found.cast(pl.Float64).to_numpy().astype(np.float64)


def codes(texts: "pl.Series", values: Sequence[str], other: bool = False) -> Array:
    """int32 places of the texts among `values`; -1 for a gap, and for another value (or the place behind the last)."""
    import polars as pl

    places = texts.replace_strict(
        list(values), list(range(len(values))), default=len(values) if other else -1, return_dtype=pl.Int32
    )
    return places.set(texts.is_null(), -1).to_numpy().astype(np.int32)


def _at(bad: Any, texts: "pl.Series", lines: Sequence[int], name: str, what: str) -> DataError:
    place = int(np.flatnonzero(bad)[0])
    return DataError(
        f"Line {lines[place]:,} has {str(texts[place])[:40]!r} in {name!r}, which {what}.",
        hint="Correct it, or leave the cell empty where the value is unknown.",
    )
