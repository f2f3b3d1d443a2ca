"""The yard: broker, API, workers and database as real processes, on a folder of their own, stopped without a trace."""

import contextlib
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final

from sqlalchemy import Engine, select

from api import serve
from api.broker import open_broker
from api.child import Child
from api.client import Client
from api.wire import Refused, Unreachable
from services.artifacts import ArtifactStore
from services.errors import Unavailable
from services.jobs import TERMINAL, JobStore
from services.settings import Settings
from services.sql.engine import open_engine, reading
from services.sql.schema import jobs
from tests import postgres
from tests.chaos.kinds import KINDS, spec_of
from tests.chaos.parts import Keeper, Part
from tests.chaos.processes import Process, below, family, hit, marked, words_of

QUICK: Final[Mapping[str, Any]] = {
    "port": 0, "heartbeat_seconds": 0.5, "silent_seconds": 2.0, "poll_seconds": 0.5, "threads": 1,
    "max_queued_per_key": 0,
}  # fmt: skip
"""Settings that make a campaign short; `open_yard` takes others by name."""
LOOK_SECONDS: Final = 0.1
GONE_SECONDS: Final = 10.0
SUBMIT_SECONDS: Final = 180.0


@dataclass
@final
class Yard:
    """A running stack to be hurt. `open_yard` makes one."""

    settings: Settings
    keeper: Keeper
    url: str = ""
    key: str = ""
    broker_url: str = ""
    accepted: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, Part]:
        """Every part by name: broker, api, worker-1, …, and database where it is a server."""
        return self.keeper.parts

    @property
    def workers(self) -> list[Part]:
        """The workers' parts."""
        return [part for name, part in self.parts.items() if name.startswith("worker-")]

    @cached_property
    def engine(self) -> Engine:
        """The record, for reading."""
        return open_engine(self.settings.database)

    @cached_property
    def store(self) -> ArtifactStore:
        """The artifact folder."""
        return ArtifactStore(self.settings.artifacts_dir)

    @cached_property
    def jobs(self) -> JobStore:
        """The record as the product reads it."""
        return JobStore(self.engine)

    @cached_property
    def client(self) -> Client:
        """The administrator's HTTP client."""
        return Client(self.url, self.key)

    def roles(self, *roles: str) -> list[Process]:
        """The workers' processes, of these roles or of all."""
        found = [process for part in self.workers for process in family(part.pid, part.name)]
        return [process for process in found if not roles or process.role in roles]

    def submit(self, what: str | Mapping[str, Any], seed: int = 1, seconds: float = SUBMIT_SECONDS) -> str:
        """Post a kind of `kinds.py`, or a spec, over HTTP until it is acknowledged; returns the job's id."""
        spec = spec_of(what, seed) if isinstance(what, str) and what in KINDS else what
        key, end = str(uuid.uuid4()), time.monotonic() + seconds
        while True:
            try:
                id = self.client.submit(spec, idempotency_key=key).id
                break
            except (Unreachable, Refused) as problem:
                refused = isinstance(problem, Refused) and problem.problem.status < 500
                if refused or time.monotonic() > end:
                    raise
                time.sleep(LOOK_SECONDS)
        if id not in self.accepted:
            self.accepted.append(id)
        return id

    def states(self) -> dict[str, str]:
        """The state of every accepted job in the record; a lost one is missing."""
        wanted = set(self.accepted)
        with reading(self.engine) as connection:
            return {
                row.id: row.state for row in connection.execute(select(jobs.c.id, jobs.c.state)) if row.id in wanted
            }

    def live(self) -> list[str]:
        """Accepted jobs that have not ended."""
        states = self.states()
        return [id for id in self.accepted if states.get(id, "lost") not in TERMINAL]

    def wait(self, ids: Collection[str] | None = None, seconds: float = 300.0) -> list[str]:
        """Wait until these jobs (all accepted ones) have ended; returns those that have not."""
        end, left = time.monotonic() + seconds, list(ids if ids is not None else self.accepted)
        while left and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            with contextlib.suppress(Unavailable):
                states = self.states()
                left = [id for id in left if states.get(id, "lost") not in TERMINAL]
        return left

    def logs(self, part: str = "worker-") -> str:
        """All log text of the parts whose name starts so."""
        files = sorted((self.settings.data_dir / "logs").glob(f"{part}*.log"))
        return "\n".join(file.read_text(errors="replace") for file in files)

    def refused_writes(self) -> int:
        """How many attempts ended because the record refused their write: each says so in its worker's log."""
        return self.logs().count("ends: lease_lost")

    def orphans(self) -> list[str]:
        """Processes of this yard that hang under no part."""
        known = {pid for part in self.parts.values() for pid in (part.pid, *below(part.pid))}
        return [f"{pid}: {words_of(pid)}" for pid in marked(self.settings.data_dir) if pid not in known]


@contextlib.contextmanager
def open_yard(
    folder: Path,
    database: str = "sqlite",
    workers: int = 2,
    env: Mapping[str, str] | None = None,
    program: str = "workers.main",
    **settings: Any,
) -> Iterator[Yard]:
    """Start a stack below `folder` and stop it at the end; `Yard.leftovers` then lists processes that stayed.

    `env` are more variables for all processes, `program` is the module that the workers run.
    """
    with contextlib.ExitStack() as undo:
        keeper = Keeper()
        undo.callback(keeper.stop)
        url = undo.enter_context(_postgresql(folder, keeper)) if database == "postgresql" else ""
        chosen = {**QUICK, "database_url": url, **settings}
        yard = Yard(Settings(_env_file=None, data_dir=folder / "yard", **chosen).prepare(), keeper)
        undo.callback(_look_for_leftovers, yard)
        undo.callback(_stop, yard)
        _start(yard, workers, env or {}, program, undo)
        yield yard


def _start(yard: Yard, workers: int, env: Mapping[str, str], program: str, undo: contextlib.ExitStack) -> None:
    settings, keeper = yard.settings, yard.keeper
    listener = undo.enter_context(serve.listen(settings))
    broker = open_broker(settings.redis_url, settings.data_dir)
    if broker.child:
        keeper.adopt("broker", broker.child)
    yard.url, yard.broker_url = serve.reachable(listener), broker.url
    root = str(Path(__file__).parents[2])
    variables = serve.environment(settings, broker.url) | {"PYTHONPATH": root, **env}
    if variables.pop("PYTHONDONTWRITEBYTECODE", None):
        # Parts start often here; without any cache of bytecode each start takes some three times as long.
        variables["PYTHONPYCACHEPREFIX"] = str(settings.data_dir / "bytecode")
    api = serve.python(settings, variables, "api", ["api.listen", str(listener.fileno())], fd=listener.fileno())
    keeper.adopt("api", api)
    for number in range(1, workers + 1):
        name = f"worker-{number}"
        keeper.adopt(name, serve.python(settings, variables, name, [program, "--device", "cpu"]))
    serve.await_ready(yard.url, [api])
    yard.key = (settings.data_dir / "admin_key").read_text().strip()


def _stop(yard: Yard) -> None:
    """Stop everything in order: workers drain together, then the API, the broker, the database."""
    yard.client.close()
    yard.engine.dispose()
    yard.keeper.stop()
    for part in yard.workers:
        if part.running:
            part.terminate()
    for part in [*yard.workers, *(yard.parts[name] for name in ("api", "broker") if name in yard.parts)]:
        part.child.stop(serve.WORKER_GRACE if part in yard.workers else serve.API_GRACE)


def _look_for_leftovers(yard: Yard) -> None:
    """Everything must be gone soon after the stop; what stays is noted, then killed."""
    end = time.monotonic() + GONE_SECONDS
    while (left := _marked(yard)) and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    yard.leftovers += [f"{pid}: {words_of(pid)}" for pid in left]
    for pid in left:
        hit(pid, signal.SIGKILL)


def _marked(yard: Yard) -> list[int]:
    spared = {part.pid for name, part in yard.parts.items() if name == "database"}
    return [pid for pid in marked(yard.settings.data_dir) if pid not in spared]


@contextlib.contextmanager
def _postgresql(folder: Path, keeper: Keeper) -> Iterator[str]:
    """A PostgreSQL of our own whose commits survive a kill; its folder lies where its user may go."""
    programs = postgres.binaries()
    if programs is None:
        raise Unavailable("There is no PostgreSQL on this machine.")
    place = Path(tempfile.mkdtemp(prefix="trainyard-chaos-pg-"))
    try:
        postgres.make_cluster(programs, place)
        who = postgres.other_user()
        words = postgres.server_command(programs, place, {})
        if who:
            leave = [f"--reuid={who['user']}", f"--regid={who['group']}", "--clear-groups", "--pdeathsig=INT"]
            words = [str(shutil.which("setpriv")), *leave, *words]
        child = Child("database", words, log=folder / "database.log", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
        keeper.adopt("database", child)
        try:
            postgres.wait_for_server(place)
            yield postgres.url_of(place)
        finally:
            keeper.stop()
            _stop_postgresql(child)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _stop_postgresql(child: Child) -> None:
    """SIGINT ends sessions too; SIGTERM, which `Child.stop` sends, would wait for them."""
    hit(child.pid, signal.SIGINT)
    child.stop()
