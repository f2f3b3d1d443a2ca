"""The exception tree. No HTTP codes here: `api/errors.py` maps classes to problem+json.

An exception's docstring is its default message.
"""

import difflib
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final


@final
@dataclass(frozen=True)
class Mistake:
    """One thing wrong in what a user sent: where it stands, a stable code, and what to do about it."""

    path: str
    code: str
    message: str
    hint: str | None = None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence for an unknown name: the closest known one, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    return f"{guess}Known: {', '.join(names) or 'none'}."


class TrainyardError(Exception):
    """Something went wrong in Trainyard."""

    code: ClassVar[str] = "error"
    message: str
    hint: str | None

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        """Carry `message` (the class's docstring by default) and an optional remedy."""
        self.message = message or inspect.cleandoc(type(self).__doc__ or TrainyardError.__name__)
        self.hint = hint
        super().__init__(self.message)


@final
class Invalid(TrainyardError):
    """What was sent is not valid."""

    code = "invalid"

    def __init__(self, mistakes: Sequence[Mistake], message: str | None = None) -> None:
        """Carry every mistake at once, so that a user mends them in one go."""
        self.mistakes = tuple(mistakes)
        super().__init__(message or "; ".join(f"{m.path}: {m.message}" for m in self.mistakes) or None)


@final
class NotFound(TrainyardError, LookupError):
    """There is no such thing, or it belongs to somebody else."""

    code = "not_found"

    def __init__(self, kind: str, id: str, known: Iterable[str] | None = None) -> None:
        """Name the kind and the id; `known` names, when given, become the hint."""
        self.kind, self.id = kind, id
        super().__init__(f"There is no {kind} {id!r}.", hint=None if known is None else did_you_mean(id, known))


class Conflict(TrainyardError):
    """The state of the job does not allow this."""

    code = "conflict"


@final
class AlreadyFinished(Conflict):
    """The job has already finished."""

    code = "already_finished"


@final
class NotFinished(Conflict):
    """The job has not finished yet."""

    code = "not_finished"


@final
class NotDownloaded(Conflict):
    """The data set has not been downloaded yet."""

    code = "not_downloaded"


@final
class DatabaseNewer(Conflict):
    """The database was made by a newer version of Trainyard."""

    code = "database_newer"


@final
class Unauthorized(TrainyardError):
    """The key is missing, unknown, expired or revoked."""

    code = "unauthorized"


@final
class Forbidden(TrainyardError):
    """This key may not do that."""

    code = "forbidden"


@final
class QuotaExceeded(TrainyardError):
    """This key has used up its quota."""

    code = "quota_exceeded"


@final
class TooManyAttempts(TrainyardError):
    """Too many wrong keys came from here; wait, then send the right one."""

    code = "too_many_attempts"

    def __init__(self, retry_after: int) -> None:
        """Carry how many seconds to wait."""
        self.retry_after = retry_after
        super().__init__(hint=f"Wait {retry_after} seconds. A right key is served meanwhile.")


@final
class Unavailable(TrainyardError):
    """The database does not answer at the moment; try again shortly."""

    code = "unavailable"


@final
class TooLarge(TrainyardError):
    """What was sent is larger than this server takes."""

    code = "too_large"


@final
class StorageFull(TrainyardError):
    """There is no space left to store this."""

    code = "storage_full"


@final
class DataError(TrainyardError):
    """The data set cannot be read or downloaded."""

    code = "data_error"


@final
class LeaseLost(TrainyardError):
    """This attempt no longer holds the job; nothing of the write was kept."""

    code = "lease_lost"


@final
class KeyReused(TrainyardError):
    """This Idempotency-Key was used before with another body."""

    code = "key_reused"
