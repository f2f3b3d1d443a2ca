"""Commands about studies; all of them talk to a server."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from api import console, session
from api.client import Client
from api.console import out
from api.session import FAILED, INTERRUPTED, AsJson, Spec, emit, read
from api.study_schemas import StudyOut, StudyPlanOut, StudyRow
from services.studies.values import StudyState
from services.studies.words import number, seconds

app = typer.Typer()
studies = typer.Typer(help="List, show and follow studies.", invoke_without_command=True)

StudyId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="Id of a study, or `last` for the newest.")]
_WIDEST = 72


@app.command()
def study(
    file: Spec,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch the study until it has finished.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would do. Nothing is queued.")] = False,
    figure: Annotated[Path | None, typer.Option("--figure", help="With --follow: save the picture here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a study: one job, what varies, and an answer."""
    with session.connected() as client:
        if plan:
            found = client.validate_study(read(file))
            return emit(found) if as_json else print_plan(found)
        begun = client.study(read(file))
        if not as_json:
            out.print(f"study {begun.id}: {sum(begun.trials.values())} trials", markup=False)
        if follow:
            finish(client, begun.id, as_json, figure)
        elif as_json:
            emit(begun)
    return None


@studies.callback()
def list_studies(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List studies, newest first; or show, follow, extend, cancel, draw or delete one."""
    if context.invoked_subcommand is not None:
        return
    with session.connected() as client:
        found = list(client.studies(limit=limit))
    if as_json:
        return emit(found)
    for one in found:
        out.print(one.id, console.state_text(one.state), f"{one.progress:.0%} {one.type} {one.name}", soft_wrap=True)
        if one.verdict:
            out.print(f"  {one.verdict}", markup=False, soft_wrap=True)


@studies.command()
def show(id: StudyId = "last", as_json: AsJson = False) -> None:
    """Show a study: its trials, and its table and verdict once it is over."""
    with session.connected() as client:
        found = client.get_study(known(client, id))
    emit(found) if as_json else print_study(found)


@studies.command()
def follow(
    id: StudyId = "last",
    figure: Annotated[Path | None, typer.Option("--figure", help="Save the picture here at the end.")] = None,
    as_json: AsJson = False,
) -> None:
    """Watch a study until it has finished; exit code 1 when it did not succeed."""
    with session.connected() as client:
        finish(client, known(client, id), as_json, figure)


@studies.command()
def extend(
    id: StudyId,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="So many seeds more for every variant.")],
    as_json: AsJson = False,
) -> None:
    """Add seeds to a study; what has been trained is kept."""
    with session.connected() as client:
        found = client.extend_study(known(client, id), seeds)
    emit(found) if as_json else out.print(f"{found.id} now has {sum(found.trials.values())} trials", markup=False)


@studies.command()
def cancel(id: StudyId, as_json: AsJson = False) -> None:
    """Cancel a study and its jobs."""
    with session.connected() as client:
        found = client.cancel_study(known(client, id))
    emit(found) if as_json else out.print(f"{found.id} {found.state if found.finished_at else 'will be cancelled'}")


@studies.command()
def delete(id: StudyId) -> None:
    """Forget a finished study and its jobs."""
    with session.connected() as client:
        client.delete_study(known(client, id))


@studies.command()
def figure(id: StudyId = "last") -> None:
    """Draw a finished study: an SVG picture on standard output."""
    with session.connected() as client:
        print(client.figure(known(client, id)), end="")


def known(client: Client, id: str) -> str:
    """An id as the server knows it: `last` is the newest study."""
    if id != "last":
        return id
    newest = next(client.studies(limit=1), None)
    if newest is None:
        raise typer.BadParameter("there is no study yet")
    return newest.id


def finish(client: Client, id: str, as_json: bool, picture: Path | None) -> None:
    """Follow a study to its end and leave with its exit code. Interrupted, the study goes on without us."""
    try:
        found = followed(client, id, out, quiet=as_json)
    except KeyboardInterrupt:
        if not as_json:
            out.print(f"the study goes on; come back with: trainyard studies follow {id}", markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    emit(found) if as_json else print_study(found)
    if picture is not None and found.result is not None:
        picture.write_text(client.figure(id))
    if found.state is not StudyState.SUCCEEDED:
        raise typer.Exit(FAILED)


def followed(client: Client, id: str, console_: Console, *, quiet: bool) -> StudyOut:
    """The study once it is over; meanwhile a line that moves on a terminal, a new line for each change elsewhere."""
    last: StudyOut | None = None
    line = ""
    live = Live(console=console_, refresh_per_second=10) if console_.is_terminal and not quiet else None
    try:
        if live is not None:
            live.start()
        for last in client.follow_study(id):
            if live is not None:
                live.update(Text(standing(last)), refresh=True)
            elif not quiet and standing(last) != line:
                line = standing(last)
                console_.print(line, markup=False, soft_wrap=True)
    finally:
        if live is not None:
            live.stop()
    assert last is not None
    return last


def standing(found: StudyRow) -> str:
    """`rates  40%  3 succeeded, 2 running, 1 waiting`."""
    return f"{found.name}  {found.progress:4.0%}  {', '.join(f'{n} {state}' for state, n in found.trials.items())}"


def print_plan(plan: StudyPlanOut) -> None:
    """What a study would do."""
    names = list(plan.varied[0]) if plan.varied else []
    out.print(console.table(names, [[cell(one.get(name)) for name in names] for one in plan.varied]))
    takes = "" if plan.wall_seconds is None else f", about {seconds(plan.wall_seconds)} with the workers that are there"
    out.print(
        f"[green]The study is right.[/green] {plan.trials} trials judged by {plan.metric}, {plan.parallel} at once;"
        f" {plan.bytes / 1e6:,.1f} MB for the largest; {plan.steps:,} steps in all{takes}."
    )


def print_study(found: StudyOut) -> None:
    """A study as a person reads it."""
    out.print(Text(found.name, style="bold"), found.id, f"({found.type})")
    out.print(console.state_text(found.state.value), Text(found.message or ""))
    if found.result is None:
        names = list(found.table[0].varied) if found.table else []
        trials = [
            (str(t.number), *map(cell, t.varied.values()), t.state, cell(t.score), t.job or "") for t in found.table
        ]
        return out.print(console.table(("trial", *names, "state", found.metric, "job"), trials))
    result = found.result
    kept = [k for k, name in enumerate(result["columns"]) if name != "job"]
    rows = [[cell(row[k]) for k in kept] for row in result["rows"]]
    out.print(console.table([result["columns"][k] for k in kept], rows))
    out.print(result["verdict"], style="bold", markup=False, soft_wrap=True)
    for sentence in result["findings"]:
        out.print(f"  {sentence}", markup=False, soft_wrap=True)
    return None


def cell(value: Any) -> str:
    """A value in a table."""
    if isinstance(value, float):
        return number(value)
    text = "" if value is None else str(value)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
