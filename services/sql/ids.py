"""Identifiers: UUID version 7 (RFC 9562), so ids sort by the time they were made."""

import re
import secrets
import threading
import time
import uuid
from typing import Final

_FORM: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LOCK: Final = threading.Lock()
_LAST: Final = [0]


def _tick() -> int:
    """Milliseconds since 1970 in 48 bits, then 12 bits of their fraction; strictly growing within a process."""
    with _LOCK:
        _LAST[0] = max(_LAST[0] + 1, (time.time_ns() << 12) // 1_000_000)
        return _LAST[0]


def new_id() -> str:
    """A fresh id; ids of one process are strictly increasing."""
    tick = _tick()
    high = (tick >> 12) << 16 | 0x7000 | tick & 0xFFF
    low = 1 << 63 | secrets.randbits(62)
    return str(uuid.UUID(int=high << 64 | low))


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id; anything else cannot exist and need not be looked up."""
    return _FORM.fullmatch(text) is not None
