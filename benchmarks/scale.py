"""What a large record costs: `python -m benchmarks.scale [--jobs=100000] [--points=1000000] [--save]`.

Fills a SQLite file, and a PostgreSQL where there is one, with finished jobs of real specs, series of a hundred jobs and
one job with many events, then times what the service asks: milliseconds, medians of several askings, and the same on a
small record.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from benchmarks.load import small_job, watching
from benchmarks.rows import add_jobs, add_metric_events, add_metrics
from benchmarks.service import about
from benchmarks.training import RESULTS
from services.fleet import Fleet
from services.jobs import JobState, JobStore
from services.keys import KeyStore
from services.lease import Lease
from services.spec import check_job, parse_job
from services.sql.engine import migrate, open_engine, writing
from tests import postgres

TENANT, LABEL = "t0", "nothing-has-it"
QUEUED, EVENTS, TURNS = 1_000, 100_000, 15
SERIES = 100
"""So many jobs share the points."""
DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}
"""PostgreSQL as it is delivered, where the tests' server saves time."""


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """URLs by name: SQLite always, PostgreSQL where its programs are installed."""
    found = {"SQLite": f"sqlite:///{folder}/{{}}.db"}
    if (programs := postgres.binaries()) is None:
        print("There is no PostgreSQL on this machine; SQLite only.")
        yield found
        return
    place = Path(tempfile.mkdtemp(prefix="trainyard-scale-"))
    try:
        postgres.make_cluster(programs, place)
        words: Any = postgres.server_command(programs, place, DURABLE)
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, **postgres.other_user()) as server:
            postgres.wait_for_server(place)
            yield found | {"PostgreSQL": postgres.url_of(place)}
            server.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def fill(engine: Engine, jobs: int, points: int, events: int) -> tuple[str, str]:
    """Finished jobs of ten tenants, a line of queued ones, jobs with rows and one with events; the last of each."""
    migrate(engine)
    *_, series = learned = add_jobs(engine, SERIES, state="succeeded")
    for job in learned:
        add_metrics(engine, job, points // SERIES)
    live = add_jobs(engine, 1, state="succeeded")[0]
    add_metric_events(engine, live, events)
    add_jobs(engine, jobs, state="succeeded", tenants=10)
    add_jobs(engine, QUEUED)
    _analyze(engine)
    return series, live


def _analyze(engine: Engine) -> None:
    """PostgreSQL counts for its planner by itself after a while; here at once."""
    if engine.dialect.name == "postgresql":
        with writing(engine) as connection:
            connection.execute(text("ANALYZE"))


def questions(engine: Engine, series: str, live: str) -> dict[str, Callable[[], object]]:
    """What is asked, by name."""
    store, fleet, keys = JobStore(engine, max_queued=10**9), Fleet(engine), KeyStore(engine)
    wanted = parse_job(small_job())
    spec, outline = wanted.model_dump(mode="json"), check_job(wanted).outline
    _, secret = keys.create("bench", ["admin"])
    old = store.heads(TENANT, limit=200).items[-1].id

    def claim() -> None:
        lease = Lease.claim(engine, "bench", {"cpu"})
        assert lease is not None
        lease.fail("internal_error", "measured")

    return {
        "verify a key": lambda: keys.verify(secret),
        "submit": lambda: store.submit(TENANT, spec, outline),
        "claim and finish": claim,
        "show a job": lambda: store.view(TENANT, old),
        "list 50": lambda: store.heads(TENANT),
        "list 50 from the middle on": lambda: store.heads(TENANT, cursor=old),
        "list 50 failed": lambda: store.heads(TENANT, state=JobState.FAILED),
        "list 50 with a label that nobody has": lambda: store.heads(TENANT, label=LABEL),
        "the queue at a glance": fleet.queue,
        "metrics, one name, 500 points": lambda: store.metrics(TENANT, series, ["loss"], None, 500),
        "metrics, what is new": lambda: store.metrics(TENANT, series, None, 10**9),
        "live tail of a job with many events": lambda: store.metrics(TENANT, live, None, EVENTS - 10),
        "log of a job with many events": lambda: store.logs(TENANT, live),
        "the bells that are due": store.bells,
    }


def measure(url: str, sizes: dict[str, tuple[int, int, int]]) -> dict[str, dict[str, float]]:
    """Milliseconds by question and size; the sizes take turns."""
    engines = {name: open_engine(url.format(name)) for name in sizes}
    asked, times, filled = {}, {}, {}
    for name, engine in engines.items():
        if engine.dialect.name == "postgresql":
            with writing(engine) as connection:
                connection.execute(text("DROP SCHEMA public CASCADE"))
                connection.execute(text("CREATE SCHEMA public"))
        began = time.perf_counter()
        asked[name] = questions(engine, *fill(engine, *sizes[name]))
        filled[name] = round(time.perf_counter() - began, 1)
        times[name] = {
            what: round(1e3 * statistics.median(_seconds(ask) for _ in range(TURNS)), 2)
            for what, ask in asked[name].items()
        } | {"seconds to fill": filled[name]}
        engine.dispose()
    return times


def _seconds(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def main() -> None:
    """Fill, measure, print a table, and keep the results where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/scale-<date>.json")
    options = parser.parse_args()
    sizes = {"small": (100, 1_000, 100), "large": (options.jobs, options.points, EVENTS)}
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder)) as urls, watching() as busy:
        results = {name: measure(url, sizes) for name, url in urls.items()}
    columns = [(name, size) for name in results for size in sizes]
    print(f"{'milliseconds, median of ' + str(TURNS):40}" + "".join(f"{a + ' ' + b:>18}" for a, b in columns))
    for what in results["SQLite"]["small"]:
        print(f"{what:40}" + "".join(f"{results[a][b][what]:18}" for a, b in columns))
    if options.save:
        taken = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = RESULTS / f"scale-{taken[:10]}.json"
        about_it: dict[str, Any] = {"taken": taken, "hardware": about(), "load_average": busy, "sizes": sizes}
        path.write_text(json.dumps(about_it | {"results": results}, indent=1) + "\n")
        print(f"kept in {path}")


if __name__ == "__main__":
    main()
