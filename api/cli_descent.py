"""Commands about finished jobs: try one again, prove one by doing it again, and its receipt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from api import console, session
from api.cli_jobs import finish
from api.console import out
from api.schemas import JobOut
from api.session import FAILED, AsJson, JobId, emit, known, read
from services.documents import from_yaml
from services.jobs import JobState
from services.replay import AGREES

app = typer.Typer()

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Watch the new job until it has finished.")]


@app.command()
def retry(
    id: JobId,
    changes: Annotated[
        list[str] | None,
        typer.Option("--with", help="What to change: training.epochs=40, or a FILE with a merge patch. Repeatable."),
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="checkpoint or start; otherwise the checkpoint where there is one.")
    ] = None,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Try a finished job again, from its last checkpoint, with changes where you like."""
    with session.connected() as client:
        job = client.retry(known(client, id), patch_of(changes or ()), begin=begin)
        start = f"goes on from step {job.checkpoint_step}" if job.checkpoint_step else "begins anew"
        if not as_json:
            out.print(f"queued {job.id}, which {start}", markup=False)
        if follow:
            finish(client, job.id, as_json)
        elif as_json:
            emit(job)


@app.command()
def replay(id: JobId, follow: Follow = False, as_json: AsJson = False) -> None:
    """Do a finished job again from the beginning and say whether it came out the same (then exit code 0)."""
    with session.connected() as client:
        job = client.replay(known(client, id))
        if not as_json:
            out.print(f"queued {job.id}", markup=False)
        if follow:
            job = client.get(job.id) if as_json else console.follow(client, job.id, console.view(out))
            job = job if job.finished_at else await_end(client, job.id)
        if as_json:
            emit(job)
        elif follow:
            print_verdict(job)
    if follow and verdict_of(job) not in AGREES:
        raise typer.Exit(FAILED)


@app.command()
def receipt(id: JobId = "last", as_json: AsJson = False) -> None:
    """Print what decided a finished job's numbers: hashes of spec, data, weights and metrics, versions, device."""
    with session.connected() as client:
        found = client.receipt(known(client, id)).model_dump(mode="json")
    emit(found) if as_json else console.print_tree(found)


def await_end(client: Any, id: str) -> JobOut:
    """Wait silently until a job has finished."""
    for _ in client.events(id):
        pass
    found = client.get(id)
    assert isinstance(found, JobOut)
    return found


def verdict_of(job: JobOut) -> str | None:
    """What a finished replay says, if it came that far."""
    found = ((job.result or {}).get("replay") or {}).get("verdict")
    return None if found is None else str(found)


def print_verdict(job: JobOut) -> None:
    """The verdict on a replay, or why there is none."""
    said = (job.result or {}).get("replay")
    if said is None:
        how = job.state if job.state is JobState.SUCCEEDED else f"{job.state} ({job.reason})"
        out.print(f"no verdict: the replay is {how}. {job.message or ''}".rstrip(), markup=False)
        return
    out.print(said["message"], style="green" if said["verdict"] in AGREES else "red", markup=False, soft_wrap=True)
    for note in said.get("notes", []):
        out.print(note, markup=False, soft_wrap=True)


def patch_of(changes: Sequence[str]) -> dict[str, Any] | None:
    """One merge patch of `path=value` pairs (values as YAML) and files; BadParameter for what is neither."""
    found: dict[str, Any] = {}
    for change in changes:
        path, sign, value = change.partition("=")
        if sign and not Path(change).is_file():
            place, steps = found, path.strip().split(".")
            for step in steps[:-1]:
                place = place.setdefault(step, {})
                if not isinstance(place, dict):
                    raise typer.BadParameter(f"{change}: {step} has a value already", param_hint="--with")
            place[steps[-1]] = scalar(value)
            continue
        patch = from_yaml(read(change).encode())
        if not isinstance(patch, Mapping):
            raise typer.BadParameter(f"{change} must hold an object with what to change", param_hint="--with")
        found |= patch
    return found or None


def scalar(text: str) -> Any:
    """A value as YAML has it: 40, 0.001, true, null, [a, b], {type: cosine}, text."""
    return from_yaml(f"value: {text}".encode())["value"]
