"""The command line: `trainyard …`.

Exit codes: 0 it worked, 1 the job failed, 2 what was given is wrong, 3 no Trainyard can be reached.
The server is TRAINYARD_API_URL with TRAINYARD_API_KEY, otherwise the one that runs on this machine's data folder.
"""

import itertools
import os
import sys
from collections.abc import Callable
from typing import Annotated, TypeAlias

import typer
from pydantic import ValidationError

from api import cli_datasets, cli_descent, cli_jobs, cli_keys, cli_operations, cli_studies, console
from api.console import out
from api.session import INTERRUPTED, UNREACHABLE, WRONG, AsJson, complain, connected, emit
from api.wire import Refused, Unreachable
from services.errors import Invalid, TrainyardError, Unavailable
from services.settings import get_settings

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)

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


@app.command()
def audit(
    key: Annotated[str | None, typer.Option(help="Only what this key did.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only done, failed or refused.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what, and who was refused; needs an admin key."""
    with connected() as client:
        found = list(itertools.islice(client.audit(key=key, outcome=outcome), limit))
    columns = ("at", "action", "object", "outcome", "status", "key", "tenant", "address", "request_id", "skipped")
    rows = [[console.when(e.at), *(getattr(e, name) for name in columns[1:])] for e in found]
    emit(found) if as_json else out.print(console.table(columns, rows))


app.add_typer(cli_jobs.app)
app.add_typer(cli_descent.app)
app.add_typer(cli_operations.app)
app.add_typer(cli_studies.app)
app.add_typer(cli_studies.studies, name="studies")
app.add_typer(cli_datasets.app, name="datasets")
app.add_typer(cli_keys.app, name="keys")

if __name__ == "__main__":
    main()
