"""Commands about jobs and models; all of them talk to a server."""

import json
from pathlib import Path
from typing import Annotated

import typer

from api import console, console_diagnostics, seeds, session
from api.client import Client
from api.console import out
from api.session import FAILED, AsJson, JobId, Spec, emit, known, read
from services import drawing
from services.jobs import JobState

app = typer.Typer()


@app.command()
def check(file: Spec, as_json: AsJson = False) -> None:
    """Check a spec and show its plan: shapes, parameters, cost. Nothing is queued."""
    with session.connected() as client:
        plan = client.validate(read(file))
    emit(plan) if as_json else console.print_plan(plan)


@app.command()
def draw(file: Spec) -> None:
    """Draw a spec's network: an SVG picture on standard output. Nothing is queued."""
    with session.connected() as client:
        plan = client.validate(read(file))
    print(drawing.draw(plan.outline, str(plan.spec.get("name", "network"))), end="")


@app.command()
def submit(
    file: Spec,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch the job until it has finished.")] = False,
    seed_count: Annotated[
        int,
        typer.Option("--seeds", min=1, max=seeds.MOST, help="So many jobs that differ in the seed; they are watched."),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Queue a job, or one for each of several seeds: s, s + 1, …"""
    with session.connected() as client:
        if seed_count > 1:
            return submit_seeds(client, read(file), seed_count, as_json)
        job = client.submit(read(file))
        if not as_json:
            out.print(f"queued {job.id}", markup=False)
        if follow:
            finish(client, job.id, as_json)
        elif as_json:
            emit(job)


def submit_seeds(client: Client, text: str, count: int, as_json: bool) -> None:
    """Queue the job with several seeds, wait for all and say how they did; exit code 1 when one did not succeed."""
    queued = [client.submit(spec) for spec in seeds.variants(text, count)]
    if not as_json:
        out.print(f"queued {count} jobs with the label {queued[0].labels[-1]}", markup=False)
    done = seeds.followed(client, [job.id for job in queued], quiet=as_json)
    spread = seeds.spread_of(done)
    emit(seeds.as_json(done, spread)) if as_json else seeds.print_seeds(done, spread)
    if any(job.state is not JobState.SUCCEEDED for job in done):
        raise typer.Exit(FAILED)


@app.command()
def watch(id: JobId = "last", as_json: AsJson = False) -> None:
    """Watch a job until it has finished; exit code 1 when it did not succeed. With --json: every event, one a line."""
    with session.connected() as client:
        finish(client, known(client, id), as_json)


def finish(client: Client, id: str, as_json: bool) -> None:
    """Follow a job to its end and leave with its exit code."""
    if as_json:
        for event in client.events(id):
            print(event.model_dump_json(), flush=True)
        job = client.get(id)
    else:
        job = console.follow(client, id, console.view(out))
        console.print_job(job)
        console_diagnostics.print_diagnostics(client.diagnostics(id))
    if job.state is not JobState.SUCCEEDED:
        raise typer.Exit(FAILED)


@app.command()
def jobs(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    label: Annotated[str | None, typer.Option(help="Only jobs with this label.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with session.connected() as client:
        found = list(client.list(state=state, label=label, limit=limit))
    if as_json:
        return emit(found)
    columns = ("id", "name", "state", "done", "created", "in the queue")
    rows = [
        (
            j.id,
            j.name,
            console.state_text(j.state),
            f"{j.progress:.0%}",
            f"{j.created_at:%m-%d %H:%M}",
            console.standing(j),
        )
        for j in found
    ]
    return out.print(console.table(columns, rows))


@app.command()
def show(id: JobId = "last", as_json: AsJson = False) -> None:
    """Show a job: state, attempts, best values, result, and what the doctor found."""
    with session.connected() as client:
        job = client.get(known(client, id))
        found = [] if as_json else client.diagnostics(job.id)
    emit(job) if as_json else console.print_job(job)
    console_diagnostics.print_diagnostics(found)


@app.command()
def logs(id: JobId = "last", as_json: AsJson = False) -> None:
    """Print a job's log."""
    with session.connected() as client:
        for line in client.logs(known(client, id)):
            text = f"{console.when(line.at)} {line.level:7} {line.text}"
            print(line.model_dump_json() if as_json else text)


@app.command()
def cancel(id: JobId, as_json: AsJson = False) -> None:
    """Discard a job."""
    with session.connected() as client:
        job = client.cancel(known(client, id))
    emit(job) if as_json else out.print(f"{job.id} {job.state if job.finished_at else 'will be cancelled'}")


@app.command()
def stop(id: JobId, as_json: AsJson = False) -> None:
    """Finish a job now and keep its model."""
    with session.connected() as client:
        job = client.stop(known(client, id))
    emit(job) if as_json else out.print(f"{job.id} will finish now and keep its model")


@app.command()
def predict(
    id: JobId,
    file: Spec,
    layer: Annotated[str | None, typer.Option(help="Give the output of this layer, by name or number.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="How boldly a language model writes.")] = None,
    length: Annotated[int | None, typer.Option(min=1, help="Symbols that a language model writes.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, another text.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict samples: a JSON list, one entry a sample, in the data set's own units."""
    try:
        inputs = json.loads(read(file))
    except ValueError as problem:
        raise typer.BadParameter(f"{file} is not JSON: {problem}") from None
    inputs = inputs.get("inputs", inputs) if isinstance(inputs, dict) else inputs
    if not isinstance(inputs, list):
        raise typer.BadParameter(f'{file} must hold a list of samples, or {{"inputs": [...]}}')
    with session.connected() as client:
        wishes = {"layer": numbered(layer), "temperature": temperature, "length": length, "seed": seed}
        found = client.predict(known(client, id), inputs, **wishes)
    emit(found) if as_json else console.print_predictions(found)


@app.command()
def export(
    id: JobId,
    format: Annotated[str, typer.Option(help="safetensors")] = "safetensors",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; otherwise ID.FORMAT here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Save a finished job's model to a file."""
    with session.connected() as client:
        job = known(client, id)
        file = client.export(job, output or Path(f"{job}.{format}"), format)
    emit({"file": str(file), "size": file.stat().st_size}) if as_json else out.print(str(file), markup=False)


def numbered(layer: str | None) -> str | int | None:
    """A layer's number where it is one: names begin with a letter."""
    return int(layer) if layer is not None and layer.lstrip("-").isdecimal() else layer


@app.command()
def files(id: JobId = "last", as_json: AsJson = False) -> None:
    """List the files that a finished job left."""
    with session.connected() as client:
        found = client.get(known(client, id)).artifacts
    rows = [(file.name, f"{file.size:,}", file.sha256) for file in found]
    emit(found) if as_json else out.print(console.table(("name", "bytes", "sha256"), rows))


@app.command()
def download(
    id: JobId,
    name: Annotated[str, typer.Argument(help="A name that `trainyard files` lists.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; otherwise NAME here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Save a file that a finished job left: latent vectors, recordings, pictures."""
    with session.connected() as client:
        file = client.download(known(client, id), name, output or Path(Path(name).name))
    emit({"file": str(file), "size": file.stat().st_size}) if as_json else out.print(str(file), markup=False)
