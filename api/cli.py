"""The command line: `trainyard …`.

Exit codes: 0 it worked, 1 the job failed, 2 what was given is wrong, 3 no Trainyard can be reached.
The server is TRAINYARD_API_URL with TRAINYARD_API_KEY, otherwise the one that runs on this machine's data folder.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from pydantic import BaseModel, ValidationError

from api import console
from api.client import Client, Refused, Unreachable
from api.console import err, out
from services.errors import Invalid, TrainyardError, Unavailable
from services.jobs import JobState
from services.settings import get_settings

if TYPE_CHECKING:
    from services.keys import Key, KeyStore

FAILED, WRONG, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
datasets_app = typer.Typer(help="Built-in data sets.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys; on the server's own machine.", no_args_is_help=True)
app.add_typer(datasets_app, name="datasets")
app.add_typer(keys_app, name="keys")

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Spec: TypeAlias = Annotated[str, typer.Argument(metavar="FILE", help="YAML or JSON; - reads standard input.")]
JobId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or `last` for the newest.")]
Device: TypeAlias = Annotated[str, typer.Option(help="cpu, gpu:0, …; auto takes the GPU when there is one.")]


def main() -> None:
    """Run the command line."""
    sys.exit(report(app))


def report(act: Callable[[], object]) -> int:
    """Do something; every expected trouble becomes sentences and an exit code."""
    try:
        done = act()
    except (Refused, Unreachable, TrainyardError, ValidationError) as trouble:
        return say(trouble)
    except KeyboardInterrupt:
        return INTERRUPTED
    return done if isinstance(done, int) else 0


def say(trouble: Refused | Unreachable | TrainyardError | ValidationError) -> int:
    """Say what is wrong and what to do about it; the exit code."""
    match trouble:
        case Refused():
            console.print_refusal(trouble)
            return UNREACHABLE if trouble.problem.status >= 500 else WRONG
        case Unreachable():
            hint = "Start one with `trainyard serve`, or set TRAINYARD_API_URL and TRAINYARD_API_KEY."
            complain(str(trouble), hint)
            return UNREACHABLE
        case Invalid():
            console.print_mistakes(trouble.mistakes)
        case TrainyardError():
            complain(trouble.message, trouble.hint)
        case ValidationError():
            lines = [f"TRAINYARD_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in trouble.errors()]
            complain("\n".join(lines), "Mend the environment or .env; .env.example names the settings.")
    return UNREACHABLE if isinstance(trouble, Unavailable) else WRONG


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


@app.command()
def serve(
    device: Device = "auto",
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = None,
) -> None:
    """Start broker, API and one worker, and keep them running until Ctrl-C."""
    from api.serve import serve_forever

    wanted = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = get_settings().model_copy(update=wanted)
    serve_forever(settings, device)


@app.command()
def worker(device: Device = "auto") -> None:
    """Run one more worker here, on the broker of TRAINYARD_REDIS_URL or of the stack that runs on this machine."""
    from api.serve import device_here, find_address

    settings = get_settings()
    address = find_address(settings.data_dir)
    broker = settings.redis_url or (address.broker if address else "")
    if not broker:
        raise Unreachable("TRAINYARD_REDIS_URL", "it is not set and no stack runs on this machine")
    env = {**os.environ, "TRAINYARD_REDIS_URL": broker}
    chosen = device_here() if device == "auto" else device
    os.execve(sys.executable, [sys.executable, "-m", "workers.main", "--device", chosen], env)


@app.command()
def check(file: Spec, as_json: AsJson = False) -> None:
    """Check a spec and show its plan: shapes, parameters, cost. Nothing is queued."""
    with connected() as client:
        plan = client.validate(read(file))
    emit(plan) if as_json else console.print_plan(plan)


@app.command()
def submit(
    file: Spec,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch the job until it has finished.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a job."""
    with connected() as client:
        job = client.submit(read(file))
        if not as_json:
            out.print(f"queued {job.id}", markup=False)
        if follow:
            finish(client, job.id, as_json)
        elif as_json:
            emit(job)


@app.command()
def watch(id: JobId = "last", as_json: AsJson = False) -> None:
    """Watch a job until it has finished; exit code 1 when it did not succeed. With --json: every event, one a line."""
    with connected() as client:
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
    with connected() as client:
        found = list(client.list(state=state, label=label, limit=limit))
    if as_json:
        return emit(found)
    columns = ("id", "name", "state", "progress", "data set", "created")
    rows = [
        (j.id, j.name, console.state_text(j.state), f"{j.progress:.0%}", j.dataset, console.when(j.created_at))
        for j in found
    ]
    return out.print(console.table(columns, rows))


@app.command()
def show(id: JobId = "last", as_json: AsJson = False) -> None:
    """Show a job: state, attempts, best values, result."""
    with connected() as client:
        job = client.get(known(client, id))
    emit(job) if as_json else console.print_job(job)


@app.command()
def logs(id: JobId = "last", as_json: AsJson = False) -> None:
    """Print a job's log."""
    with connected() as client:
        for line in client.logs(known(client, id)):
            text = f"{console.when(line.at)} {line.level:7} {line.text}"
            print(line.model_dump_json() if as_json else text)


@app.command()
def cancel(id: JobId, as_json: AsJson = False) -> None:
    """Discard a job."""
    with connected() as client:
        job = client.cancel(known(client, id))
    emit(job) if as_json else out.print(f"{job.id} {job.state if job.finished_at else 'will be cancelled'}")


@app.command()
def stop(id: JobId, as_json: AsJson = False) -> None:
    """Finish a job now and keep its model."""
    with connected() as client:
        job = client.stop(known(client, id))
    emit(job) if as_json else out.print(f"{job.id} will finish now and keep its model")


@app.command()
def predict(id: JobId, file: Spec, as_json: AsJson = False) -> None:
    """Predict samples: a JSON list, one entry a sample, in the data set's own units."""
    try:
        inputs = json.loads(read(file))
    except ValueError as problem:
        raise typer.BadParameter(f"{file} is not JSON: {problem}") from None
    inputs = inputs.get("inputs", inputs) if isinstance(inputs, dict) else inputs
    if not isinstance(inputs, list):
        raise typer.BadParameter(f'{file} must hold a list of samples, or {{"inputs": [...]}}')
    with connected() as client:
        found = client.predict(known(client, id), inputs)
    emit(found) if as_json else console.print_tree(found)


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
    with connected() as client:
        job = known(client, id)
        file = client.export(job, output or Path(f"{job}.{format}"), format)
    emit({"file": str(file), "size": file.stat().st_size}) if as_json else out.print(str(file), markup=False)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is missing on this machine and how to mend it."""
    from api.doctor import examine

    findings = list(examine(get_settings()))
    if as_json:
        emit([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            finding.print_on(out)
    if any(finding.broken for finding in findings):
        raise typer.Exit(WRONG)


@datasets_app.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List the built-in data sets."""
    with connected() as client:
        cards = client.datasets()
    rows = [(c.name, c.kind, console.cell(c.input_shape), ", ".join(c.tasks), c.train, c.test, c.title) for c in cards]
    columns = ("name", "kind", "input", "tasks", "train", "test", "title")
    emit(cards) if as_json else out.print(console.table(columns, rows))


@datasets_app.command("show")
def show_dataset(name: str, as_json: AsJson = False) -> None:
    """Describe a data set."""
    with connected() as client:
        card = client.dataset(name)
    emit(card) if as_json else console.print_tree(card.model_dump(mode="json"))


@contextmanager
def key_store() -> "Iterator[KeyStore]":
    """The keys in this machine's database."""
    from services.keys import KeyStore
    from services.sql.engine import migrate, open_engine

    engine = open_engine(get_settings().prepare().database)
    try:
        migrate(engine)
        yield KeyStore(engine)
    finally:
        engine.dispose()


@keys_app.command("create")
def create_key(
    name: str,
    scopes: Annotated[str, typer.Option(help="Of read, submit, cancel, admin; with commas.")] = "read,submit,cancel",
    days: Annotated[float | None, typer.Option(min=0, help="Valid for so many days; otherwise until revoked.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is shown now and never again."""
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with key_store() as store:
        key, secret = store.create(name, [scope.strip() for scope in scopes.split(",")], expires)
    emit({**key_row(key), "secret": secret}) if as_json else print(secret)


@keys_app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List keys, revoked ones too."""
    with key_store() as store:
        found = [key_row(key) for key in store.keys()]  # noqa: SIM118
    columns = ("id", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
    emit(found) if as_json else out.print(console.table(columns, [[row[name] for name in columns] for row in found]))


@keys_app.command("revoke")
def revoke_key(id: str, as_json: AsJson = False) -> None:
    """Make a key useless at once."""
    with key_store() as store:
        key = store.revoke(id)
    emit(key_row(key)) if as_json else out.print(f"{key.id} is revoked", markup=False)


def key_row(key: "Key") -> dict[str, Any]:
    """A key without its secret."""
    times = {name: getattr(key, name) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")}
    shown = {name: at and at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in times.items()}
    return {"id": key.id, "name": key.name, "tenant": key.tenant, "scopes": ", ".join(sorted(key.scopes)), **shown}


if __name__ == "__main__":
    main()
