"""Commands about data sets: bring one, look at them, take one away."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from api import console, session
from api.console import out
from api.session import AsJson, emit

app = typer.Typer(help="Data sets: built in, and your own.", no_args_is_help=True)

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set, or id of an upload (ds_…).")]
Sent: TypeAlias = Callable[[int, int], None]


@app.command("add")
def add_dataset(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)],
    name: Annotated[
        str | None, typer.Option(help="What to call it; otherwise as the file, without its ending.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="table, series, images, audio, text, arrays; otherwise recognised.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a file to the server: CSV, pictures or WAV in class folders (zip, tar), text, npy, npz."""
    with session.connected() as client, sending(file.name, hidden=as_json) as sent:
        found = client.upload(file, name or name_of(file), kind=kind, progress=sent)
    if as_json:
        return emit(found)
    out.print(f"{found.name} is {found.id} ({found.kind}); in a spec: dataset: {{upload: {found.name}}}", markup=False)
    for warning in (found.survey or {}).get("warnings", []):
        out.print(f"warning: {warning}", markup=False)
    return None


@contextlib.contextmanager
def sending(title: str, *, hidden: bool = False) -> Iterator[Sent]:
    """A bar that moves while bytes go out, then says that the server reads the file."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=console.err, transient=True, disable=hidden) as bar:
        task = bar.add_task(title, total=None)

        def sent(here: int, total: int) -> None:
            bar.update(task, completed=here, total=total)
            if here >= total:
                bar.update(task, description=f"{title}: the server reads it")

        yield sent


def name_of(file: Path) -> str:
    """A name for a file's data set: `My Data.csv` becomes `My-Data`."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"(\.tar)?\.[A-Za-z0-9]+$", "", file.name))
    return plain.strip("._-")[:100] or "data"


@app.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List your uploads and the built-in data sets."""
    with session.connected() as client:
        found = list(client.datasets())
    columns = ("name", "id", "kind", "input", "tasks", "train", "test", "title")
    rows = [
        (d.name, d.id, d.kind, console.cell(d.input_shape), ", ".join(d.tasks), d.train, d.test, d.title)
        for d in found
    ]  # fmt: skip
    emit(found) if as_json else out.print(console.table(columns, rows))


@app.command("show")
def show_dataset(name: Name, as_json: AsJson = False) -> None:
    """Describe a data set: what it holds, and what a spec may say about it."""
    with session.connected() as client:
        found = client.dataset(name)
    if as_json:
        return emit(found)
    about = found.model_dump(mode="json", exclude={"options", "links"}, exclude_none=True)
    keys = found.options.get("properties", {})
    return console.print_tree(about | {"options": {key: console.brief(of.get("default")) for key, of in keys.items()}})


@app.command("remove")
def remove_dataset(name: Name, as_json: AsJson = False) -> None:
    """Delete an upload and free its disk space. Models trained on it go on working."""
    with session.connected() as client:
        client.remove_dataset(name)
    emit({"removed": name}) if as_json else out.print(f"{name} is gone", markup=False)
