"""The typed client: every route as a method, every answer as a model, every refusal as one exception.

with Client("http://127.0.0.1:8000", "ty_…") as trainyard:
    job = trainyard.submit(Path("examples/digits_cnn.yaml").read_text())
    for event in trainyard.events(job.id):
        print(event.kind, event.data)
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, final
from urllib.parse import quote

import httpx2
from pydantic import BaseModel

from api.dataset_schemas import DatasetOut, DatasetPage, DatasetRow, ReportOut, SampleList, SampleOut
from api.descent_schemas import ReceiptOut
from api.diagnostic_schemas import DiagnosticList, DiagnosticOut
from api.key_schemas import AuditOut, AuditPage, KeyOut, KeyPage, NewKeyOut
from api.schemas import (
    EventOut,
    JobOut,
    JobPage,
    JobRow,
    LogLine,
    LogPage,
    MetricList,
    MetricOut,
    ModelOut,
    PlanOut,
    QueueViewOut,
    WorkerList,
    WorkerOut,
)
from api.study_schemas import StudyOut, StudyPage, StudyPlanOut, StudyRow
from api.wire import Refused, Unreachable, body, check, given, pause_of, pieces, waiting_time
from services.jobs import TERMINAL
from services.studies.values import FINISHED

Answer = TypeVar("Answer", bound=BaseModel)

PATIENCE_SECONDS = 30.0
LOADING_SECONDS = 300.0  # a server that predicts for the first time compiles kernels
READING_SECONDS = 1800.0  # a server reads an uploaded file wholly before it answers
SILENCE_SECONDS = 45.0  # the server pings every 15 s, so a longer silence is a dead connection
AWAY = (502, 503, 504)  # a server that starts again, or a proxy in front of it
LOST = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)  # on a connection that was there
BROKEN = (httpx2.ConnectError, *LOST)
TRIES = 8


@final
class Client:
    """One connection pool to one server with one key. Use it as a context manager."""

    def __init__(self, url: str, key: str, *, transport: httpx2.BaseTransport | None = None) -> None:
        """Talk to the server at `url` as the owner of `key`."""
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"}
        self._met = False
        self._http = httpx2.Client(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS, transport=transport)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, spec: str | Mapping[str, Any], *, idempotency_key: str | None = None) -> JobOut:
        """Queue a job, given as YAML text or as data. Posted twice with the same key, it is one job.

        Without a key of the caller's it gets one of its own, so an answer that was lost on the way is asked for again.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._ask(JobOut, "POST", "/v1/jobs", again=True, **body(spec, headers))

    def validate(self, spec: str | Mapping[str, Any]) -> PlanOut:
        """What a job would do; nothing is queued."""
        return self._ask(PlanOut, "POST", "/v1/jobs/validate", again=True, **body(spec, {}))

    def get(self, id: str) -> JobOut:
        """One job with everything about it."""
        return self._ask(JobOut, "GET", f"/v1/jobs/{id}")

    def list(self, *, state: str | None = None, label: str | None = None, limit: int | None = None) -> Iterator[JobRow]:
        """Jobs, newest first, page by page; all of them, or the first `limit`."""
        query = {"state": state, "label": label, "limit": min(limit or 200, 200)}
        left, cursor = limit, None
        while True:
            page = self._ask(JobPage, "GET", "/v1/jobs", params=given({**query, "cursor": cursor}))
            yield from page.items[:left]
            left, cursor = None if left is None else left - len(page.items), page.next_cursor
            if cursor is None or (left is not None and left <= 0):
                return

    def cancel(self, id: str) -> JobOut:
        """Discard a job."""
        return self._ask(JobOut, "POST", f"/v1/jobs/{id}/cancel")

    def stop(self, id: str) -> JobOut:
        """Finish a job now and keep its model."""
        return self._ask(JobOut, "POST", f"/v1/jobs/{id}/stop")

    def retry(
        self, id: str, changes: Mapping[str, Any] | None = None, *, begin: str | None = None,
        idempotency_key: str | None = None,
    ) -> JobOut:  # fmt: skip
        """A new job from a finished one's checkpoint (`begin`: checkpoint, start), its spec merged with `changes`."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        wish = given({"from": begin, "with": None if changes is None else dict(changes)})
        return self._ask(JobOut, "POST", f"/v1/jobs/{id}/retry", again=True, json=wish, headers=headers)

    def replay(self, id: str, *, idempotency_key: str | None = None) -> JobOut:
        """Run a finished job again from the beginning; `result["replay"]` of the new one will say how they compare."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._ask(JobOut, "POST", f"/v1/jobs/{id}/replay", again=True, headers=headers)

    def receipt(self, id: str) -> ReceiptOut:
        """Everything that decided a finished job's numbers, as hashes and versions."""
        return self._ask(ReceiptOut, "GET", f"/v1/jobs/{id}/receipt")

    def delete(self, id: str) -> None:
        """Forget a finished job and free its disk space."""
        self._send("DELETE", f"/v1/jobs/{id}")

    def metrics(
        self, id: str, names: Sequence[str] = (), *, since: int | None = None, max_points: int | None = None
    ) -> Sequence[MetricOut]:
        """Metric values by step; thinned out to `max_points` per name without losing minima and maxima."""
        query = given({"name": list(names) or None, "since": since, "max_points": max_points})
        return self._ask(MetricList, "GET", f"/v1/jobs/{id}/metrics", params=query).items

    def logs(self, id: str) -> Iterator[LogLine]:
        """Log lines so far, oldest first."""
        after: int | None = 0
        while after is not None:
            page = self._ask(LogPage, "GET", f"/v1/jobs/{id}/logs", params={"after": after})
            yield from page.items
            after = page.next_after

    def diagnostics(self, id: str) -> Sequence[DiagnosticOut]:
        """What the training doctor has found so far, the gravest first; `state` says what has passed."""
        return self._ask(DiagnosticList, "GET", f"/v1/jobs/{id}/diagnostics").items

    def events(self, id: str, after: int = 0) -> Iterator[EventOut]:
        """Events from the one numbered above `after` until the job has finished.

        A lost connection is taken up again where it broke, so nothing is missed and nothing comes twice.
        """
        failures = 0
        while True:
            try:
                for event in self._stream(id, after):
                    after, failures = event.number, 0
                    yield event
                    if event.kind == "state" and event.data.get("state") in TERMINAL:
                        return
                if self.get(id).state in TERMINAL:
                    return
            except (httpx2.HTTPError, httpx2.SSEError, Unreachable, Refused) as problem:
                failures += 1
                if isinstance(problem, Refused) and problem.problem.status not in AWAY:
                    raise
                if failures >= TRIES:
                    raise Unreachable(self.url, problem) from problem
            time.sleep(pause_of(failures))

    def _stream(self, id: str, after: int) -> Iterator[EventOut]:
        """One connection to the event stream."""
        headers = {"Last-Event-ID": str(after)}
        timeout = httpx2.Timeout(PATIENCE_SECONDS, read=SILENCE_SECONDS)
        with self._http.sse(f"/v1/jobs/{id}/events", headers=headers, timeout=timeout) as source:
            check(source.response)
            yield from (EventOut.model_validate_json(message.data) for message in source if message.data)

    def network(self, id: str) -> str:
        """A job's network as an SVG picture."""
        return self._send("GET", f"/v1/jobs/{id}/network.svg", again=True).text

    def model(self, id: str) -> ModelOut:
        """What a finished job's model is and takes."""
        return self._ask(ModelOut, "GET", f"/v1/models/{id}")

    def predict(self, id: str, inputs: Sequence[Any], **wishes: Any) -> dict[str, Any]:
        """Outputs for samples in the data set's own units; `wishes` are the request's other keys, such as `layer`,
        `state` or `temperature`."""
        path, patience = f"/v1/models/{id}/predict", LOADING_SECONDS
        asked = {"inputs": list(inputs), **given(wishes)}
        found = self._send("POST", path, again=True, json=asked, timeout=patience).json()
        assert isinstance(found, dict)
        return found

    def export(self, id: str, file: Path, format: str = "safetensors") -> Path:
        """Save a model to `file`, whole or not at all."""
        return self._save(f"/v1/models/{id}/export?format={quote(format)}", file)

    def download(self, id: str, name: str, file: Path) -> Path:
        """Save one of the files that a job left to `file`, whole or not at all; `model(id).files` lists them."""
        return self._save(f"/v1/models/{id}/files/{quote(name, safe='')}", file)

    def _save(self, path: str, file: Path) -> Path:
        fresh = file.with_name(f"{file.name}.part")
        with self._reaching(), self._http.stream("GET", path) as answer:
            check(answer)
            with fresh.open("wb") as out:
                out.writelines(answer.iter_bytes())
        return fresh.replace(file)

    def study(self, spec: str | Mapping[str, Any], *, idempotency_key: str | None = None) -> StudyOut:
        """Begin a study, given as YAML text or as data. Posted twice with the same key, it is one study."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._ask(StudyOut, "POST", "/v1/studies", again=True, **body(spec, headers))

    def validate_study(self, spec: str | Mapping[str, Any]) -> StudyPlanOut:
        """What a study would do; nothing is queued."""
        return self._ask(StudyPlanOut, "POST", "/v1/studies/validate", again=True, **body(spec, {}))

    def get_study(self, id: str) -> StudyOut:
        """One study with its trials and, once it is over, its result."""
        return self._ask(StudyOut, "GET", f"/v1/studies/{id}")

    def studies(self, *, limit: int | None = None) -> Iterator[StudyRow]:
        """Studies, newest first, page by page; all of them, or the first `limit`."""
        left, cursor = limit, None
        while left is None or left > 0:
            query = given({"limit": min(left or 200, 200), "cursor": cursor})
            page = self._ask(StudyPage, "GET", "/v1/studies", params=query)
            yield from page.items
            left, cursor = None if left is None else left - len(page.items), page.next_cursor
            if cursor is None:
                return

    def follow_study(self, id: str, *, every: float = 0.5) -> Iterator[StudyOut]:
        """The study again and again, whenever something has changed, until it has finished."""
        before: StudyOut | None = None
        while before is None or before.state not in FINISHED:
            found = self.get_study(id)
            if found != before:
                yield found
            before = found
            time.sleep(every if found.state not in FINISHED else 0.0)

    def extend_study(self, id: str, seeds: int) -> StudyOut:
        """Let a study go on with so many seeds more."""
        return self._ask(StudyOut, "POST", f"/v1/studies/{id}/extend", json={"seeds": seeds})

    def cancel_study(self, id: str) -> StudyOut:
        """Cancel a study and its jobs."""
        return self._ask(StudyOut, "POST", f"/v1/studies/{id}/cancel")

    def delete_study(self, id: str) -> None:
        """Forget a finished study and its jobs."""
        self._send("DELETE", f"/v1/studies/{id}")

    def figure(self, id: str) -> str:
        """The curves of a finished study as an SVG picture."""
        return self._send("GET", f"/v1/studies/{id}/figure.svg", again=True).text

    def datasets(self) -> Iterator[DatasetRow]:
        """Your uploads, newest first, then the built-in data sets, page by page."""
        yield from self._pages(DatasetPage, "/v1/datasets")

    def dataset(self, name: str) -> DatasetOut:
        """One data set, by name or by an upload's id."""
        return self._ask(DatasetOut, "GET", f"/v1/datasets/{name}")

    def upload(
        self, file: Path, name: str, *, kind: str | None = None, progress: Callable[[int, int], None] | None = None
    ) -> DatasetOut:
        """Bring a data set; `progress` hears how many bytes of how many have been sent. The same content again under
        the same name is the same upload."""
        size = file.stat().st_size
        return self._ask(
            DatasetOut,
            "PUT",
            f"/v1/datasets/{name}",
            params=given({"kind": kind}),
            content=pieces(file, size, progress),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            timeout=httpx2.Timeout(PATIENCE_SECONDS, read=READING_SECONDS),
        )

    def remove_dataset(self, name: str) -> None:
        """Forget an upload and free its disk space."""
        self._send("DELETE", f"/v1/datasets/{name}")

    def report(self, name: str, **query: Any) -> ReportOut:
        """What to know before training; `query`: the data set's options, and `train`, `validation`, `test`, `seed`."""
        path = f"/v1/datasets/{name}/report"
        return self._ask(ReportOut, "GET", path, params=given(query), timeout=READING_SECONDS)

    def samples(self, name: str) -> Sequence[SampleOut]:
        """Up to a dozen rows to look at."""
        return self._ask(SampleList, "GET", f"/v1/datasets/{name}/samples", timeout=READING_SECONDS).items

    def workers(self) -> Sequence[WorkerOut]:
        """Workers seen lately."""
        return self._ask(WorkerList, "GET", "/v1/workers").items

    def queue(self) -> QueueViewOut:
        """How many jobs wait, and for how long."""
        return self._ask(QueueViewOut, "GET", "/v1/queue")

    def keys(self) -> Iterator[KeyOut]:
        """Every key of the server, oldest first; for administrators."""
        yield from self._pages(KeyPage, "/v1/keys")

    def create_key(self, name: str, scopes: Sequence[str], **more: Any) -> NewKeyOut:
        """Make a key; its secret is in the answer and nowhere else. `more`: `days`, `tenant`."""
        return self._ask(NewKeyOut, "POST", "/v1/keys", json={"name": name, "scopes": list(scopes), **given(more)})

    def revoke_key(self, id: str) -> None:
        """Make a key useless at once."""
        self._send("DELETE", f"/v1/keys/{quote(id, safe='')}")

    def audit(self, *, key: str | None = None, outcome: str | None = None) -> Iterator[AuditOut]:
        """Audit events, newest first; for administrators."""
        yield from self._pages(AuditPage, "/v1/audit", key=key, outcome=outcome)

    def _pages(self, kind: type[Any], path: str, **query: Any) -> Iterator[Any]:
        """The items of a listing, page by page."""
        cursor: str | None = None
        while True:
            page = self._ask(kind, "GET", path, params=given({"limit": 200, "cursor": cursor, **query}))
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def _ask(self, kind: type[Answer], method: str, path: str, *, again: bool = False, **more: Any) -> Answer:
        return kind.model_validate_json(self._send(method, path, again=again or method == "GET", **more).content)

    def _send(self, method: str, path: str, *, again: bool = False, **more: Any) -> httpx2.Response:
        """One request; one that may be repeated (`again`) is sent again while a server that was there is away."""
        with self._reaching():
            for failures in range(TRIES if again else 1):
                last = failures == TRIES - 1 or not again
                try:
                    answer = self._http.request(method, path, **more)
                except BROKEN as problem:
                    if last or not (self._met or isinstance(problem, LOST)):
                        raise
                    pause = pause_of(failures)
                else:
                    self._met = True
                    if last or answer.status_code not in AWAY:
                        return check(answer)
                    pause = max(pause_of(failures), waiting_time(answer))
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what goes wrong on the way into Unreachable."""
        try:
            yield
        except (httpx2.TransportError, httpx2.InvalidURL) as problem:
            raise Unreachable(self.url, str(problem) or type(problem).__name__) from problem
