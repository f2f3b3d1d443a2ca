"""Column types that mean the same on SQLite and PostgreSQL."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, final

from sqlalchemy import BigInteger, Dialect, Double, Integer, Text
from sqlalchemy.types import TypeDecorator

Whole = BigInteger().with_variant(Integer, "sqlite")


def storable(text: str) -> bool:
    """Whether a text can be a value in both databases: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def cleaned(text: str) -> str:
    """`text` with what a database refuses replaced by U+FFFD."""
    return str(_portable(text.replace("\0", "\ufffd")))


def _portable(value: Any) -> Any:
    """What every JSON reader can take: NaN and infinities become null, lone surrogates U+FFFD."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_portable(str(key)): _portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(item) for item in value]
    return value


def to_json(value: Any) -> str:
    """Compact ASCII JSON, keys in the order given: stores any text on any database."""
    return json.dumps(_portable(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)


@final
class JsonText(TypeDecorator[Any]):
    """A JSON document, as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Document to text."""
        return None if value is None else to_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Text to document."""
        return None if value is None else json.loads(value)


@final
class Moment(TypeDecorator[datetime]):
    """A UTC moment, as seconds since 1970."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> float | None:
        """Aware datetime to seconds."""
        return None if value is None else value.timestamp()

    def process_result_value(self, value: float | None, dialect: Dialect) -> datetime | None:
        """Seconds to aware datetime."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


@final
class Real(TypeDecorator[float]):
    """A float that may be NaN: NULL in the database, because SQLite turns NaN into NULL anyway."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """NaN to NULL."""
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        """NULL to NaN."""
        return math.nan if value is None else value


def utc_now() -> datetime:
    """This moment, aware, in UTC."""
    return datetime.now(UTC)
