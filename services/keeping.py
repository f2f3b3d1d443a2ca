"""What a trainer writes to a disk that may be full, and what it reads from one that may have spoilt it.

A checkpoint can be put off: training goes on, and the next one is as good. A model cannot: it waits for space.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, final

from services.errors import StorageFull, TrainyardError

T = TypeVar("T")
Message = dict[str, Any]

PATIENCE_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 1.0
TELL_SECONDS: Final = 60.0
PUT_OFF: Final = "The disk is full: there is no checkpoint of this step, and training goes on."
WAITING: Final = "The disk is full: the model is ready and waits for space."


@final
class CheckpointUnreadable(TrainyardError):
    """The checkpoint cannot be read by this version of Trainyard."""

    code = "checkpoint_unreadable"


@contextmanager
def readable() -> Iterator[None]:
    """Whatever goes wrong inside is the checkpoint's fault, except for a lack of memory."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise CheckpointUnreadable(f"The checkpoint cannot be used: {error}") from error


def unless_full(write: Callable[[], Message]) -> Message:
    """What `write` returns, or a log message when the disk is full."""
    try:
        return write()
    except StorageFull:
        return {"type": "log", "level": "warning", "text": PUT_OFF}


def when_there_is_space(
    write: Callable[[], T], patience: float = PATIENCE_SECONDS, pause: float = PAUSE_SECONDS
) -> Generator[Message, None, T]:
    """What `write` returns once the disk has space, saying meanwhile that it waits; StorageFull after `patience` s."""
    began, told = time.monotonic(), float("-inf")
    while True:
        try:
            return write()
        except StorageFull:
            now = time.monotonic()
            if now - began >= patience:
                raise
        if now - told >= TELL_SECONDS:
            yield {"type": "log", "level": "warning", "text": WAITING}
            told = now
        time.sleep(pause)
