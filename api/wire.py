"""What the client and the server say to each other: a request's body, a refusal, the pauses before another try."""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import httpx2
from pydantic import ValidationError

from api.schemas import Problem

PIECE = 1 << 18
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


@final
class Refused(Exception):
    """The server refused a request."""

    def __init__(self, problem: Problem) -> None:
        """Carry the server's problem: status, detail, and every mistake."""
        self.problem = problem
        super().__init__(problem.detail)


@final
class Unreachable(Exception):
    """No Trainyard answers there."""

    def __init__(self, url: str, cause: object) -> None:
        """Name the address and what went wrong on the way."""
        self.url = url
        super().__init__(f"No Trainyard answers at {url}: {cause}.")


def pause_of(failures: int) -> float:
    """Seconds to wait after so many failures before this one: none at first, then more and more, never all alike."""
    grown: float = FIRST_PAUSE * (2**failures - 1)
    return min(grown, LONGEST_PAUSE) * random.uniform(0.5, 1.0)


def waiting_time(answer: httpx2.Response) -> float:
    """The seconds that a server asks for in `Retry-After`, within bounds; 0 when it names none."""
    named = answer.headers.get("Retry-After", "")
    return min(float(named), LONGEST_PAUSE) if named.isdecimal() else 0.0


def body(spec: str | Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """A spec as the request's body: text travels as YAML (of which JSON is a part), data as JSON."""
    if isinstance(spec, str):
        return {"content": spec.encode(), "headers": {**headers, "Content-Type": "application/yaml"}}
    return {"json": dict(spec), "headers": dict(headers)}


def pieces(file: Path, size: int, progress: Callable[[int, int], None] | None) -> Iterator[bytes]:
    """The bytes of a file, told on as they go."""
    sent = 0
    with file.open("rb") as source:
        while piece := source.read(PIECE):
            yield piece
            sent += len(piece)
            if progress is not None:
                progress(sent, size)


def given(query: Mapping[str, Any]) -> dict[str, Any]:
    """Only the parameters that have a value."""
    return {name: value for name, value in query.items() if value is not None}


def check(answer: httpx2.Response) -> httpx2.Response:
    """The answer itself when it is a success; Refused otherwise."""
    if answer.is_success:
        return answer
    answer.read()
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        problem = stranger(answer)
    raise Refused(problem)


def stranger(answer: httpx2.Response) -> Problem:
    """The problem for a refusal that did not come from Trainyard: a proxy's page, another program on that port."""
    return Problem(
        type="about:blank",
        title=answer.reason_phrase,
        status=max(answer.status_code, 400),
        detail=f"{answer.url} answered {answer.status_code} {answer.reason_phrase}, but not as Trainyard does.",
        instance=answer.url.path,
        code="stranger",
        hint="Is another program listening there?",
        request_id="",
    )
