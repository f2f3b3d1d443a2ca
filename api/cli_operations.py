"""Commands for who runs a Trainyard: back up, restore, move to another database. They work on this machine's files."""

from pathlib import Path
from typing import Annotated

import typer

from api.console import out
from api.session import FAILED, AsJson, complain, emit
from services.errors import Conflict
from services.settings import get_settings

app = typer.Typer()

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the backup.")]


@app.command()
def backup(folder: Folder, as_json: AsJson = False) -> None:
    """Copy record, models, checkpoints, uploads and the admin key into a new FOLDER, while jobs run."""
    from services.backup import backup

    done = backup(get_settings(), folder)
    if as_json:
        emit(vars(done) | {"folder": str(folder), "bad": list(done.bad)})
    else:
        out.print(f"{folder}: {done.jobs} jobs, {done.files} files, {done.size:,} bytes, all verified", markup=False)
    if done.bad:
        complain(f"Not in the backup, because missing or damaged here: {', '.join(done.bad)}")
        raise typer.Exit(FAILED)


@app.command()
def restore(folder: Folder, as_json: AsJson = False) -> None:
    """Verify a backup and put it into the data folder, which must be new or empty."""
    from services.backup import restore

    done = restore(get_settings(), folder)
    if as_json:
        return emit(vars(done) | {"folder": str(done.folder), "bad": []})
    return out.print(f"{done.folder}: {done.jobs} jobs, {done.files} files are back", markup=False)


@app.command()
def move(
    url: Annotated[str, typer.Argument(metavar="URL", help="postgresql://user:password@host/name, an empty database.")],
    as_json: AsJson = False,
) -> None:
    """Copy the record of this data folder into another database; nothing may run meanwhile."""
    from api.serve import locked
    from services.sql.engine import open_engine
    from services.sql.moving import move

    settings = get_settings()
    if locked(settings.data_dir):
        raise Conflict(f"Trainyard runs on {settings.data_dir}.", hint="Stop it first.")
    source, target = open_engine(settings.database), open_engine(url)
    try:
        counts = move(source, target)
    finally:
        source.dispose()
        target.dispose()
    if as_json:
        return emit(counts)
    text = f"{counts['jobs']} jobs and {sum(counts.values())} rows are there now; set TRAINYARD_DATABASE_URL to it"
    return out.print(text, markup=False, soft_wrap=True)
