"""What is wrong with a job as its record tells it: the newest word on every illness and place."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.jobs import JobStore
from services.sql.values import Event

PAGE: Final = 1000
REPLAY: Final[dict[str, Any]] = {
    "title": "A repeated step gave other numbers",
    "severity": "error",
    "unit": "metric value",
    "source": "training is deterministic: the same step gives the same bits",
    "explanation": "After an interruption a step was run again, and a metric differs from the one recorded before."
    " The numbers that were recorded first are kept.",
    "next_step": "Compare the two attempts' workers and devices, and run the job again.",
}
"""What the record itself finds when an attempt is taken up again: it knows only the two numbers."""


def newest(store: JobStore, tenant: str, id: str) -> list[Event]:
    """The newest diagnostic event of every illness and place: those still there first, then by weight and age."""
    latest = {_key(event): event for event in _all(store, tenant, id)}
    return sorted(latest.values(), key=_rank)


def told(event: Event) -> dict[str, Any]:
    """A diagnostic event's data with every field that a finding has."""
    data = event.data
    if data.get("code") != "replay_differs":
        return data
    return REPLAY | {"code": data["code"], "path": data["name"], "step": data["step"], "measured": data["replayed"]} | {
        "threshold": data["committed"]
    }  # fmt: skip


def one_line(found: Mapping[str, Any]) -> str:
    """`warning: Dead rectifiers (dense.relu): 0.93 share of units; threshold 0.5`, or that it has passed."""
    place = found.get("layer") or found.get("path") or found.get("name")
    heading = f"{found.get('title') or found.get('code')}{f' ({place})' if place else ''}"
    if found.get("state") == "gone":
        return f"has passed: {heading}"
    if "measured" not in found:
        return f"{found.get('severity', 'error')}: {heading}"
    figure = f"{_figure(found['measured'])} {found.get('unit', '')}; threshold {_figure(found.get('threshold'))}"
    return f"{found.get('severity', 'warning')}: {heading}: {figure}"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "unknown"


def _all(store: JobStore, tenant: str, id: str) -> Iterable[Event]:
    after = 0
    while page := store.diagnostics(tenant, id, after, PAGE):
        yield from page
        after = page[-1].number


def _key(event: Event) -> tuple[Any, ...]:
    return event.data.get("code"), event.data.get("path") or event.data.get("name")


def _rank(event: Event) -> tuple[bool, bool, int]:
    found = told(event)
    return found.get("state") == "gone", found.get("severity") != "error", event.number
