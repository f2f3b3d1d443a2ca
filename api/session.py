"""What the command line's commands share: which server, how files are read, how answers and complaints are printed."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from pydantic import BaseModel

from api.client import Client
from api.console import err
from api.wire import Unreachable
from services.settings import get_settings

FAILED, WRONG, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Spec: TypeAlias = Annotated[str, typer.Argument(metavar="FILE", help="YAML or JSON; - reads standard input.")]
JobId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or `last` for the newest.")]


def complain(message: str, hint: str | None = None) -> None:
    """Say on standard error what is wrong and what to do."""
    err.print(message, style="red", markup=False, soft_wrap=True)
    if hint:
        err.print(hint, style="dim", markup=False, soft_wrap=True)


@contextmanager
def connected() -> Iterator[Client]:
    """A client of the server that the environment or this machine's data folder names."""
    from api.serve import find_address

    url, key = os.environ.get("TRAINYARD_API_URL"), os.environ.get("TRAINYARD_API_KEY", "")
    if not url:
        address = find_address(get_settings().data_dir)
        if address is None:
            raise Unreachable(str(get_settings().data_dir), "no stack runs on this folder")
        url, key = address.url, key or address.key
    with Client(url, key) as client:
        yield client


def emit(found: Any) -> None:
    """Print models or plain data as JSON."""
    print(json.dumps(plain(found), indent=2, ensure_ascii=False))


def plain(found: Any) -> Any:
    """Models as what JSON knows."""
    if isinstance(found, BaseModel):
        return found.model_dump(mode="json")
    return [plain(item) for item in found] if isinstance(found, list | tuple) else found


def read(file: str) -> str:
    """The text of a file or of standard input."""
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as problem:
        raise typer.BadParameter(f"{file} cannot be read: {problem}") from None


def known(client: Client, id: str) -> str:
    """An id as the server knows it: `last` is the newest job."""
    if id != "last":
        return id
    newest = next(client.list(limit=1), None)
    if newest is None:
        raise typer.BadParameter("there is no job yet")
    return newest.id
