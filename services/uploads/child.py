"""`python -m services.uploads.child`: reads what a stranger sent, in a process that can do little else.

One JSON request on standard input, one JSON line on standard output: `{"found": …}`, or `{"refused": …}` with what is
wrong and what to do. Whatever a library prints goes to standard error.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from services.errors import Conflict, DataError, Invalid, NotFound, TrainyardError
from services.uploads.limits import Limits

Document: TypeAlias = dict[str, Any]


def survey(request: Mapping[str, Any]) -> Document:
    """What a file holds: its kind, the facts that make its cards, a report, samples."""
    from services.datasets import uploaded

    found = uploaded.survey(Path(request["file"]), request["kind"])
    return {"kind": found.kind, "facts": found.facts, "report": found.report, "samples": found.samples}


def report(request: Mapping[str, Any]) -> Document:
    """The report on a data set as a job with these options and this split would deal it out."""
    from services import datasets
    from services.datasets.report import report_on

    source, options, split = _source(request), request["options"], datasets.Split(**request["split"])
    card = datasets.card_of(source, options)
    datasets.sizes(card, split, request["train_fraction"])
    content = datasets.read_from(source, Path(request["datasets_dir"]), None, options)
    return report_on(card, content, split, request["train_fraction"]).to_json()


def samples(request: Mapping[str, Any]) -> Document:
    """A dozen rows of a data set in a form to show."""
    from services import datasets
    from services.uploads.previews import previews

    source, split = _source(request), datasets.Split()
    content = datasets.read_from(source, Path(request["datasets_dir"]))
    return {"items": previews(source.card, content.deal(source.card, split, datasets.sizes(source.card, split)))}


def _source(request: Mapping[str, Any]) -> Any:
    from services import datasets
    from services.uploads.library import Handed

    return Handed.of(request["upload"]).source() if request.get("upload") else datasets.find(request["name"])


TASKS: Final[Mapping[str, Callable[[Mapping[str, Any]], Document]]] = {
    "survey": survey,
    "report": report,
    "samples": samples,
}


def answer(request: Mapping[str, Any]) -> Document:
    """Do what is asked; a refusal is an answer too."""
    try:
        return {"found": TASKS[request["do"]](request)}
    except MemoryError:
        return {"refused": {"code": "too_demanding", "message": "Reading it takes more memory than there is for it."}}
    except (DataError, Invalid, NotFound, Conflict) as error:
        return {"refused": refusal(error)}


def refusal(error: TrainyardError) -> Document:
    """An exception as plain JSON."""
    mistakes = [vars(mistake) for mistake in error.mistakes] if isinstance(error, Invalid) else []
    return {"code": error.code, "message": error.message, "hint": error.hint, "mistakes": mistakes}


def main() -> int:
    """Answer one request."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    request: Document = json.loads(sys.stdin.buffer.read())
    Limits(**request["limits"]).impose()
    from services.datasets.download import stay_offline
    from services.sql.types import to_json

    stay_offline()
    with out:
        out.write(to_json(answer(request)).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
