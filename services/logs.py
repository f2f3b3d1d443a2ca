"""How every process of ours logs: one event a line, as text or JSON, without control characters and without secrets."""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, final

from services.settings import Settings

QUIET: Final = ("alembic", "kombu", "asyncio", "PIL", "matplotlib", "httpx2", "httpcore2")
"""Loggers of others that speak at the level of warnings only."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_KEY = re.compile(r"\b(ty_[0-9A-Za-z]{1,64})_[A-Za-z0-9_-]{8,}")
_PASSWORD = re.compile(r"(\w://[^\s/:@]*:)[^\s/@]+@")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def escaped(text: str) -> str:
    """`text` in one line: control characters, line breaks among them, as escapes; tabs stay."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def without_secrets(text: str) -> str:
    """`text` with the secret part of keys and the passwords of URLs left out, should one ever get so far."""
    return _PASSWORD.sub(r"\1…@", _KEY.sub(r"\1_…", text))


def trace_of(record: logging.LogRecord) -> list[str]:
    """The lines of a record's exception."""
    if not record.exc_info or record.exc_info[0] is None:
        return []
    return [without_secrets(line) for line in "".join(traceback.format_exception(*record.exc_info)).splitlines()]


def time_of(record: logging.LogRecord) -> str:
    """When it happened, in UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.}{int(record.msecs):03d}Z"


def extras_of(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller said beside the sentence."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


@final
class TextLines(logging.Formatter):
    """For people: time, level, who, what. The lines of a trace are indented, so that none can pass for an event."""

    def format(self, record: logging.LogRecord) -> str:
        """One event."""
        head = f"{time_of(record)} {record.levelname.lower():7} {record.name}: "
        more = "".join(f" {name}={value}" for name, value in extras_of(record).items())
        trace = "".join(f"\n    {escaped(line)}" for line in trace_of(record))
        return head + escaped(without_secrets(record.getMessage() + more)) + trace


@final
class JsonLines(logging.Formatter):
    """For programs: one JSON object a line, ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """One event."""
        found = {"at": time_of(record), "level": record.levelname.lower(), "logger": record.name}
        found |= {"message": without_secrets(record.getMessage())}
        found |= {name: without_secrets(str(value)) for name, value in extras_of(record).items()}
        if trace := trace_of(record):
            found["trace"] = "\n".join(trace)
        return json.dumps(found)


def configure(settings: Settings) -> None:
    """Send everything that is logged in this process to standard error in the form that the settings ask for."""
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(TextLines() if as_text else JsonLines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
