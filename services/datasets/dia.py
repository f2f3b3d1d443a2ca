"""Series of measurements in Rijkswaterstaat's DONAR exchange format (`.dia`), read strictly.

Sections in square brackets; `TYD;first day;time;last day;time;step;min` says when; after `[WRD]` follow the values as
`value/quality:`, quality 0 being a good measurement and 99 none at all.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, final

import numpy as np

from services.errors import DataError

MAX_VALUES = 20_000_000
_TIMES = re.compile(r"^TYD;(\d{8});(\d{4});(\d{8});(\d{4});(\d{1,6});min$", re.MULTILINE | re.ASCII)
_VALUE = re.compile(r"(-?\d{1,9})/(\d{1,2})", re.ASCII)


@final
@dataclass(frozen=True)
class Measurements:
    """Whole-numbered values at equal steps of time, and the quality of each."""

    first: datetime
    step: timedelta
    values: np.ndarray[Any, np.dtype[np.int32]]
    quality: np.ndarray[Any, np.dtype[np.int32]]


def parse_dia(data: bytes, name: str) -> Measurements:
    """The one series in `data`; DataError says what is wrong with it."""
    try:
        text = data.decode("ascii").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _broken(name, f"byte {error.start} is not ASCII") from error
    if not text.startswith("[IDT;*DIF*;") or text.count("[WRD]\n") != 1 or text.count("[W3H]\n") != 1:
        raise _broken(name, "it does not begin with [IDT;*DIF*;, or has not exactly one series [W3H] … [WRD]")
    head, body = text.split("[WRD]\n")
    times = _TIMES.findall(head)
    if len(times) != 1:
        raise _broken(name, "its header does not have one line TYD;date;time;date;time;step;min")
    first, last, step = _period(times[0], name)
    values, quality = _values(body, name)
    expected = (last - first) // step + 1
    if first + (expected - 1) * step != last or len(values) != expected:
        raise _broken(name, f"it has {len(values):,} values where its header announces {expected:,}")
    return Measurements(first, step, values, quality)


def _period(times: tuple[str, ...], name: str) -> tuple[datetime, datetime, timedelta]:
    try:
        first, last = (datetime.strptime(day + time, "%Y%m%d%H%M") for day, time in (times[:2], times[2:4]))
    except ValueError as error:
        raise _broken(name, f"its header has an impossible time: {error}") from error
    step = timedelta(minutes=int(times[4]))
    if not step or last < first or (last - first) // step >= MAX_VALUES:
        raise _broken(name, "its header has a period without end, or with too many steps")
    return first, last, step


def _values(body: str, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    pairs = "".join(body.split()).removesuffix(":").split(":")
    found = [_VALUE.fullmatch(pair) for pair in pairs]
    if None in found:
        place = found.index(None)
        raise _broken(name, f"value {place + 1} is {pairs[place][:40]!r}, not value/quality")
    numbers = np.array([match.groups() for match in found if match], np.int32)
    return numbers[:, 0], numbers[:, 1]


def _broken(name: str, what: str) -> DataError:
    return DataError(f"{name} is not a good series of measurements: {what}.", hint="Get the file again.")
