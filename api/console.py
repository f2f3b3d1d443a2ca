"""What the command line prints: a live bar on a terminal, plain lines elsewhere, tables, plans and refusals."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, final

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from api.client import Client
from api.schemas import ErrorItem, EventOut, JobOut, JobRow, PlanOut, QueueOut
from api.wire import Refused
from services.errors import Mistake
from services.findings import one_line
from services.jobs import TERMINAL, JobState

POLL_SECONDS = 0.25
LAST_WORDS_SECONDS = 2.0
LINE_SECONDS = 2.0
LONGEST_LIST = 12
PLAN = ("name", "input_shape", "output_shape", "parameters", "flops", "bytes")
RETURNS = ("episode_return", "eval_return")
COLOURS = {"queued": "yellow", "running": "cyan", "succeeded": "green", "failed": "red", "cancelled": "magenta"}

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class View(Protocol):
    """Shows a job while it runs."""

    def show(self, job: JobOut, latest: Mapping[str, float]) -> None:
        """Show where the job stands and the latest value of every metric."""

    def say(self, text: str) -> None:
        """Show a line of its own."""

    def close(self) -> None:
        """Leave the last state standing."""


@final
class Bar:
    """A live progress bar, and below it where the job stands."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()
        )
        self._task = self._bar.add_task("", total=1.0)
        self._live = Live(self._bar, console=console, refresh_per_second=10)
        self._live.start()

    def show(self, job: JobOut, latest: Mapping[str, float]) -> None:
        """Move the bar."""
        self._bar.update(self._task, description=job.name, completed=job.progress)
        self._live.update(Group(self._bar, Text(f"  {state_line(job, latest)}")), refresh=True)

    def say(self, text: str) -> None:
        """Print above the bar."""
        self._live.console.print(text, markup=False)

    def close(self) -> None:
        """Stop drawing."""
        self._live.stop()


@final
class Lines:
    """A plain line for every change, at most one in two seconds while nothing but numbers move; for logs and pipes."""

    def __init__(self, console: Console) -> None:
        """Print on `console`."""
        self._console, self._said_at, self._phase, self._line = console, float("-inf"), "", ""

    def show(self, job: JobOut, latest: Mapping[str, float]) -> None:
        """Print a line if there is something new to say."""
        phase, line = f"{job.state} {job.phase}", f"{job.name}  {job.progress:4.0%}  {state_line(job, latest)}"
        soon = time.monotonic() - self._said_at < LINE_SECONDS
        if line == self._line or (phase == self._phase and soon):
            return
        self._said_at, self._phase, self._line = time.monotonic(), phase, line
        self.say(line)

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Nothing is left open."""


def view(console: Console) -> View:
    """The view that fits the console."""
    return Bar(console) if console.is_terminal else Lines(console)


def state_line(job: JobRow, latest: Mapping[str, float]) -> str:
    """`training  step 120/480  loss 0.0312  val_accuracy 0.981  12 s left`."""
    parts = [job.phase or "" if job.state is JobState.RUNNING else job.state.value]
    if job.total_steps:
        parts.append(f"step {job.step}/{job.total_steps}")
    parts += [f"{name} {latest[name]:.4f}" for name in shown(latest)]
    if job.eta_seconds is not None and job.state is JobState.RUNNING:
        parts.append(f"{duration(job.eta_seconds)} left")
    return "  ".join(part for part in parts if part)


def shown(latest: Mapping[str, float]) -> list[str]:
    """The metrics worth a place in one line: the loss, and how well validation goes or an agent does."""
    validation = [name for name in latest if name.startswith("val_") and name != "val_loss"]
    return [name for name in ("loss", *(validation or ["val_loss"])[:2], *RETURNS) if name in latest]


def duration(seconds: float) -> str:
    """`7 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def follow(client: Client, id: str, on: View, meanwhile: Callable[[], None] = lambda: None) -> JobOut:
    """Show a job until it has finished and return it; `meanwhile` runs a few times a second."""
    heard: queue.Queue[EventOut] = queue.Queue()
    listener = threading.Thread(target=listen, args=(client, id, heard.put), daemon=True)
    listener.start()
    latest: dict[str, float] = {}
    try:
        while True:
            job = client.get(id)
            if job.state in TERMINAL:
                listener.join(LAST_WORDS_SECONDS)
            hear(heard, latest, on)
            on.show(job, latest)
            if job.state in TERMINAL:
                return job
            meanwhile()
            time.sleep(POLL_SECONDS)
    finally:
        on.close()


def listen(client: Client, id: str, tell: Callable[[EventOut], None]) -> None:
    """Pass events on until the job has finished. Whatever happens to the stream costs only the live metrics."""
    with contextlib.suppress(Exception):
        for event in client.events(id):
            tell(event)


def hear(heard: "queue.Queue[EventOut]", latest: dict[str, float], on: View) -> None:
    """Take note of what has come in: metrics are remembered; warnings, findings and lost attempts are said."""
    while not heard.empty():
        event = heard.get_nowait()
        if event.kind == "metric":
            values = event.data.get("values") or {}
            latest.update({name: value for name, value in values.items() if isinstance(value, int | float)})
        elif event.kind == "log" and event.data.get("level") in ("warning", "error"):
            on.say(f"{event.data['level']}: {event.data.get('text', '')}")
        elif event.kind == "diagnostic":
            on.say(one_line(event.data))
        elif event.kind == "state" and event.data.get("state") == "queued" and event.attempt:
            on.say(f"attempt {event.attempt} was lost; the job goes on from its last checkpoint")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table; text columns keep their words."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column == "id")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    return made


def state_text(state: str) -> Text:
    """A job's state in its colour."""
    return Text(state, style=COLOURS.get(state, ""))


def print_job(job: JobOut) -> None:
    """A job as a person reads it."""
    out.print(Text(job.name, style="bold"), job.id)
    out.print(state_text(job.state.value), f"({job.reason})" if job.reason else "", Text(job.message or ""))
    if job.queue and job.state is JobState.QUEUED:
        out.print(f"position {job.queue.position} in the queue{waits(job.queue)}", markup=False)
    if job.state is JobState.RUNNING:
        out.print(f"{job.progress:.0%}  {state_line(job, {})}")
    rows = [(a.number, a.device, a.outcome or "running", a.message, when(a.started_at)) for a in job.attempts]
    if rows:
        out.print(table(("attempt", "device", "outcome", "message", "started"), rows))
    for title, values in (("best", job.best), ("result", job.result)):
        if values:
            out.print(f"[bold]{title}[/bold]")
            print_tree(values, 1)


def waits(queue: QueueOut) -> str:
    """`, waiting for a free worker, starts in about 3 min 20 s`."""
    reason = f", waiting for {queue.waiting_for}" if queue.waiting_for else ""
    return reason + (f", starts in about {duration(queue.eta_seconds)}" if queue.eta_seconds else "")


def standing(job: JobRow) -> str:
    """A queued job's place in one cell: `2, waiting for a free worker`."""
    return "" if job.queue is None or job.queue.position is None else f"{job.queue.position}{waits(job.queue)}"


def print_tree(values: Mapping[str, Any], depth: int = 0) -> None:
    """Nested values, one a line; long lists and lists of tables only by their length."""
    for name, value in values.items():
        line = f"{'  ' * depth}{name}  {'' if isinstance(value, Mapping) else brief(value)}"
        out.print(line.rstrip(), markup=False, soft_wrap=True)
        if isinstance(value, Mapping):
            print_tree(value, depth + 1)


def brief(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, list) and (len(value) > LONGEST_LIST or any(isinstance(item, Mapping) for item in value)):
        return f"({len(value)} entries)"
    return ", ".join(map(str, value)) if isinstance(value, list) else number(value)


def print_predictions(found: Mapping[str, Any]) -> None:
    """One line a sample: its class and how sure the model is, its values, or the text it goes on with."""
    for one in found["predictions"]:
        sure = [f"{other['class']} {other['probability']:.4f}" for other in one.get("top", [])]
        numbers = one.get("values") or one.get("probabilities") or {}
        chosen = [one["name"]] if "action" in one else []
        values = chosen + [f"{name} {value:.5g}" for name, value in numbers.items()]
        written = [one["text"]] if "text" in one else [brief(flat(one["output"]))] if "output" in one else []
        out.print("  ".join(written or sure or values), markup=False, soft_wrap=True)


def flat(values: Any) -> list[float]:
    """The numbers of nested lists, one after the other."""
    return [value for row in values for value in flat(row)] if isinstance(values, list) else [values]


def number(value: Any) -> str:
    """A number with five digits, anything else as it is."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def when(at: Any) -> str:
    """A time of day in UTC, short."""
    return f"{at:%Y-%m-%d %H:%M:%SZ}" if at else ""


def print_plan(plan: PlanOut) -> None:
    """A checked spec: what each layer makes of its input, and what it all costs."""
    layers = plan.outline.get("layers") or []
    out.print(
        table(
            [name.removesuffix("_shape") for name in PLAN], [[cell(layer[name]) for name in PLAN] for layer in layers]
        )
    )
    print_tree({name: value for name, value in plan.outline.items() if name != "layers"})
    fits = f"{len(plan.workers)} worker(s) fit" if plan.workers else f"waits for {plan.queue.waiting_for}"
    takes = f"; about {plan.estimate.seconds:,.0f} s of training" if plan.estimate else ""
    out.print(f"[green]The spec is right.[/green] {fits}; position {plan.queue.position} in the queue{takes}.")


def cell(value: Any) -> str:
    """A shape as `8×8×16`, a number with thousands, nothing for None."""
    if isinstance(value, list):
        return "×".join(map(str, value)) or "scalar"
    return (
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else "" if value is None else str(value)
    )


def print_refusal(refused: Refused) -> None:
    """What the server refused, and why."""
    problem = refused.problem
    count = len(problem.errors)
    heading = f"{count} mistake{'s' * (count > 1)}" if count else problem.title
    err.print(Text(heading, style="red"), Text("" if count else problem.detail))
    print_mistakes(problem.errors)
    if problem.hint:
        err.print(Text(problem.hint, style="dim"), soft_wrap=True)


def print_mistakes(mistakes: Iterable[ErrorItem | Mistake]) -> None:
    """All mistakes at once: where, what, and how to mend it."""
    for mistake in mistakes:
        err.print(Text(f"  {mistake.path}", style="bold"), Text(mistake.message), soft_wrap=True)
        if mistake.hint:
            err.print(Text(f"      {mistake.hint}", style="dim"), soft_wrap=True)
