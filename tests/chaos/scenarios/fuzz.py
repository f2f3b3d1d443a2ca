"""Garbage over HTTP, 50,000 requests of it, against a real server with a key: what schemathesis can think of.

Each operation gets right and wrong requests from its own description, with ids that exist and ids that do not; a state
machine follows the links from one answer to the next. No answer may be a 5xx, differ from the OpenAPI document, or take
longer than five seconds. `python -m tests.chaos.scenarios.fuzz CASES SEED` runs it alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky, Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import Failure, FailureGroup

from api.client import Client
from api.serve import running
from services.documents import from_yaml
from services.jobs import TERMINAL
from services.settings import Settings
from tests.chaos.registry import Findings, Trial, scenario
from tests.services.uploads_at_hand import flowers

HANG_SECONDS: Final = 5.0
CHILD_SECONDS: Final = 30.0
SLOW: Final = {"report_dataset": 60, "sample_dataset": 60, "put_dataset": 30}
"""Operations that start a child process to read a file: a case takes so many times as long as another."""
NAKED_EVERY: Final = 10
"""One case of so many is sent again without its key, which must never be served."""
OPEN: Final = frozenset({"/livez", "/readyz"})
ENDLESS: Final = "stream_events"
"""The stream of a job that waits never ends: it is asked for with a finished job alone."""
STATEFUL: Final = 0.25
"""The share of cases that follow links."""
UNFIT: Final = frozenset({"positive_data_acceptance", "missing_required_header", "ignored_auth"})
"""Checks that do not fit: a job may be well-formed and still make no sense, which is 422; a key may come as cookie;
whether a key is needed is asked below, with no wrong keys that would be slowed down."""
MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)

load_all_checks()
ALL: Final = [check for check in CHECKS.get_all() if check.__name__ not in UNFIT]


@final
class Fuzz:
    """One server under fire, and what came back."""

    def __init__(self, url: str, key: str, trial: Trial, known: dict[str, str]) -> None:
        """Ask the server at `url` with `key`; `known`: a finished job and an upload that exist."""
        self.url, self.trial, self.known = url, trial, known
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {key}"
        self.statuses: Counter[int] = Counter()
        self.wrong: dict[str, list[str]] = {"5xx": [], "schema": [], "hang": [], "served without a key": []}
        self.total, self.longest = trial.counts["cases"], 0.0
        self.api: Any = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=dict(self.session.headers))
        self.api.config.generation.update(with_security_parameters=False)
        rejections = self.api.config.checks.negative_data_rejection
        rejections.expected_statuses = [*rejections.expected_statuses, "413"]

    @property
    def cases(self) -> int:
        """Requests so far."""
        return sum(self.statuses.values())

    def send(self, case: Any) -> None:
        """One generated request, its answer judged."""
        request = case.as_transport_kwargs(base_url=self.url)
        request.pop("cookies", None)
        request["headers"] = {k: v for k, v in (request.get("headers") or {}).items() if k.lower() != "authorization"}
        began = time.monotonic()
        slow = case.operation.definition.raw["operationId"] in SLOW
        try:
            answer = self.session.request(
                **request, allow_redirects=False, timeout=CHILD_SECONDS if slow else HANG_SECONDS
            )
        except requests.exceptions.Timeout:
            self.note("hang", case, "no answer in time")
            self.statuses[0] += 1
            return
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError, ValueError):
            return
        if not slow:
            self.longest = max(self.longest, time.monotonic() - began)
        self.judge(case, answer)
        if self.cases % NAKED_EVERY == 0 and case.path not in OPEN:
            bare = requests.request(**request, allow_redirects=False, timeout=CHILD_SECONDS)
            if bare.status_code < 400 or bare.status_code >= 500:
                self.note("served without a key", case, f"{bare.status_code} {bare.text[:200]}")

    def judge(self, case: Any, answer: Any) -> None:
        """Note what is wrong with an answer."""
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            self.note("5xx", case, f"{answer.status_code} {answer.text[:300]}")
        try:
            case.validate_response(answer, checks=ALL)
        except FailureGroup as group:
            for failure in group.exceptions:
                self.note("schema", case, f"{answer.status_code} {type(failure).__name__}: {failure}")
        except Failure as failure:
            self.note("schema", case, f"{answer.status_code} {type(failure).__name__}: {failure}")
        if self.cases % 1000 == 0:
            self.trial.say(self.cases, self.total, f"{dict(sorted(self.statuses.items()))}")

    def note(self, kind: str, case: Any, what: str) -> None:
        """Write a violation down, with the request that brought it."""
        told = f"{case.as_curl_command()[:500]} -> {' '.join(what.split())[:500]}"
        self.wrong[kind].append(told)
        self.trial.say(self.cases, self.total, f"{kind}: {told}")

    def each(self, operation: Any, cases: int, number: int) -> None:
        """So many requests to one operation, right and wrong ones."""
        fixed = [{}] if "{" not in operation.path else [{}, self.known]
        if operation.definition.raw["operationId"] == ENDLESS:
            fixed = [self.known]
        names = {parameter.name for parameter in operation.path_parameters}
        for mode in MODES:
            for values in fixed:
                path = {name: value for name, value in values.items() if name in names}
                strategy = operation.as_strategy(generation_mode=mode, path_parameters=path or None)
                run = settings(self.profile, max_examples=max(1, cases // (len(MODES) * len(fixed))))(
                    seed(self.trial.seed * 1000 + number)(given(strategy)(self.sender()))
                )
                with contextlib.suppress(Unsatisfiable):
                    run()

    def sender(self) -> Callable[[Any], None]:
        """`send` as a function of its own, for hypothesis writes on it."""

        def one(case: Any) -> None:
            self.send(case)

        return one

    @property
    def profile(self) -> settings:
        """How hypothesis works here: it makes requests up and shrinks nothing."""
        quiet = list(HealthCheck)
        return settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=quiet)

    def links(self, cases: int) -> None:
        """So many requests along the links from one answer to the next."""
        fuzz, last = self, self.cases + cases

        left_out = [ENDLESS, "report_dataset", "sample_dataset"]

        class Machine(self.api.exclude(operation_id=left_out).as_state_machine()):  # type: ignore[misc]
            def get_call_kwargs(self, case: Any) -> dict[str, Any]:
                return {"timeout": HANG_SECONDS, "headers": dict(fuzz.session.headers)}

            def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
                fuzz.judge(case, response)

        number = 0
        while self.cases < last:
            number += 1
            few = settings(self.profile, max_examples=20, stateful_step_count=12)
            try:
                # A server remembers: the same beginning may have another end, which hypothesis calls flaky.
                with contextlib.suppress(Flaky):
                    run_state_machine_as_test(seed(self.trial.seed + number)(Machine), settings=few)
            except requests.exceptions.Timeout as late:
                self.wrong["hang"].append(str(late)[:500])


@contextlib.contextmanager
def furnished(folder: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """A real server with a finished job and an upload; its worker is gone, so that nothing made up is trained."""
    options = Settings(_env_file=None, data_dir=folder / "data", port=0, max_queued_per_key=0)
    with running(options, "cpu") as stack, Client(stack.address.url, stack.address.key) as client:
        spec = from_yaml(Path("examples/iris_mlp.yaml").read_bytes())
        job = client.submit(spec | {"training": spec["training"] | {"epochs": 2}, "baseline": False})
        while client.get(job.id).state not in TERMINAL:
            time.sleep(0.2)
        (folder / "flowers.csv").write_bytes(flowers(60))
        client.upload(folder / "flowers.csv", "known")
        stack.children[-1].stop()
        yield stack.address.url, stack.address.key, {"id": job.id, "name": "known"}


@scenario(
    "fuzz",
    "what schemathesis can think of, against a real server: no 5xx, nothing undeclared, no answer after 5 s",
    counts={"cases": 50_000},
    databases=("sqlite",),
)
def run(trial: Trial) -> Findings:
    """Send so many cases and tell what came back."""
    began = time.monotonic()
    with furnished(trial.folder) as (url, key, known):
        fuzz = Fuzz(url, key, trial, known)
        operations = [found.ok() for found in fuzz.api.get_all_operations()]
        weights = [1 / SLOW.get(op.definition.raw["operationId"], 1) for op in operations]
        stateless = trial.counts["cases"] * (1 - STATEFUL)
        for number, (operation, weight) in enumerate(zip(operations, weights, strict=True)):
            fuzz.each(operation, round(stateless * weight / sum(weights)), number)
        fuzz.links(max(0, trial.counts["cases"] - fuzz.cases))
    figures = {
        "cases": fuzz.cases, "operations": len(operations), "seconds": round(time.monotonic() - began),
        "longest_seconds": round(fuzz.longest, 2), "statuses": {str(k): v for k, v in sorted(fuzz.statuses.items())},
    }  # fmt: skip
    return Findings({kind: found for kind, found in fuzz.wrong.items() if found}, figures)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        wanted = Trial(
            int(sys.argv[2]), "sqlite", {"cases": int(sys.argv[1])}, Path(made), lambda *told: print(*told, flush=True)
        )
        found = run(wanted)
        print(json.dumps({"figures": found.figures, "violations": found.violations}, indent=1))
        sys.exit(bool(found.violations))
