"""What a trainer child says to its supervisor: JSON objects, one a line, on a pipe.

Only the supervisor checks: the child runs kernels and third-party code, so every line it sends is a claim, not a fact.
"""

import json
from typing import Annotated, Any, Final, Literal, TypeAlias, final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

#: One message at most; a checkpoint carries all metrics since the last one, so the limit is generous.
LINE_LIMIT: Final = 16 * 1024 * 1024

#: Exit statuses of a trainer that mean something to the supervisor.
EXIT_OK: Final = 0
EXIT_DEVICE_LOST: Final = 71
EXIT_UNREADABLE: Final = 73
EXIT_DRAINED: Final = 75

Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**62)]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MetricRow: TypeAlias = tuple[Count, Annotated[str, Field(max_length=200)], float]


class Said(BaseModel):
    """Abstract: one message of a trainer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@final
class Phase(Said):
    """The trainer has entered a phase of its work."""

    type: Literal["phase"]
    phase: Literal["loading", "compiling", "training", "finalising"]


@final
class Progress(Said):
    """How far training has come."""

    type: Literal["progress"]
    step: Count
    total_steps: Count | None = None
    epoch: Count | None = None
    eta_seconds: float | None = None


@final
class Metrics(Said):
    """Metric values after a step or an epoch."""

    type: Literal["metrics"]
    step: Count
    epoch: Count | None = None
    values: dict[str, float]


@final
class Log(Said):
    """A line for the job's log."""

    type: Literal["log"]
    level: Literal["debug", "info", "warning", "error"] = "info"
    text: str


@final
class Diagnostic(Said):
    """A finding about the training, for the job's diagnostics."""

    type: Literal["diagnostic"]
    data: dict[str, Any]


@final
class Data(Said):
    """Which data is used: name, sha256, sizes."""

    type: Literal["data"]
    data: dict[str, Any]


@final
class CheckpointWritten(Said):
    """A checkpoint file is complete; `metrics` are all since the last one, `best` marks the best so far."""

    type: Literal["checkpoint"]
    step: Count
    path: str
    sha256: Sha256
    size: Count
    metrics: list[MetricRow] = []
    best: dict[str, Any] | None = None


@final
class File(Said):
    """One file the trainer has written for good."""

    name: str
    path: str
    sha256: Sha256
    size: Count


@final
class Done(Said):
    """Training has ended well; the trainer exits next."""

    type: Literal["done"]
    reason: Literal["completed", "early_stopped", "stopped_by_user"]
    result: dict[str, Any]
    artifacts: list[File] = []
    metrics: list[MetricRow] = []


@final
class Failed(Said):
    """Training cannot succeed; the trainer exits next. `crowded`: strangers have taken the device's memory."""

    type: Literal["failed"]
    reason: Literal["out_of_memory", "diverged", "data_error", "spec_error", "storage_full", "internal_error"]
    message: str
    metrics: list[MetricRow] = []
    crowded: bool = False


Message: TypeAlias = Phase | Progress | Metrics | Log | Diagnostic | Data | CheckpointWritten | Done | Failed

_MESSAGES: Final[TypeAdapter[Message]] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


@final
class ProtocolError(Exception):
    """The trainer said something that is no message."""


def parse(line: bytes) -> Message:
    """Read one line; ProtocolError for anything that is not a message."""
    try:
        return _MESSAGES.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise ProtocolError(f"{where}: {first['msg']} (line starts {line[:80]!r})") from None


def encode(message: dict[str, Any]) -> bytes:
    """One line for `message`; NaN and infinities pass, line breaks are escaped by JSON itself."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


@final
class Lines:
    """Cuts a stream of bytes into lines; ProtocolError when one grows beyond `limit` bytes."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        """Start with nothing heard."""
        self._limit, self._rest = limit, bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        self._rest += chunk
        if b"\n" not in chunk:
            self._check()
            return []
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        self._check()
        return [line for line in lines if line]

    @property
    def pending(self) -> bytes:
        """What stands behind the last line break."""
        return bytes(self._rest)

    def _check(self) -> None:
        if len(self._rest) > self._limit:
            raise ProtocolError(f"a message of more than {self._limit} bytes")
