"""`python -m workers.main`: one worker. A Celery main process that only listens, and pool processes that supervise.

SIGTERM or Ctrl-C drains: trainers write a checkpoint, their jobs go back to the queue, then everything ends. Killing
the main process takes the pool, its zygotes and their trainers along; the jobs come back when their silence is noticed.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, final

from celery import bootsteps, signals
from celery.worker import state

from services.errors import DatabaseNewer, Forbidden
from services.jobs import JobStore
from services.logs import configure
from services.private import check_kernel_cache
from services.settings import Settings, get_settings
from services.sql.engine import migrate, open_engine
from services.studies.advance import advance
from services.upkeep import Upkeep
from workers import gpu
from workers.app import get_app, queue_of
from workers.doorbell import ring_all
from workers.ledger import OUTAGE, Pace
from workers.reaper import Reaper, watch
from workers.station import Duty, close_station, open_station
from workers.trainer import ENGINE
from workers.warden import Warden

log = logging.getLogger(__name__)

#: Longer than a trainer may take to drain: by then every job has been given back.
DRAIN_SECONDS: Final = 40.0
FAREWELL_SECONDS: Final = 5.0
#: How often a worker asks whether it is its turn to clean up.
UPKEEP_SECONDS: Final = 60.0


@final
class Watch:
    """What the main process does besides listening: the reaper's rounds, and the way down."""

    def __init__(self, settings: Settings, busy_file: Path, drain: int) -> None:
        """`drain` is the write end of the pipe whose closing tells the pool to drain."""
        self._settings, self._busy_file, self._drain = settings, busy_file, drain
        self._over, self._going_down = threading.Event(), threading.Event()
        self._forking = threading.Lock()

    def start(self) -> None:
        """Take over the signals and start the reaper; called when the pool has been forked."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._go_down)
        # Pool processes are forked again when one dies: never in the middle of a database call.
        os.register_at_fork(
            before=self._forking.acquire,
            after_in_parent=self._forking.release,
            after_in_child=self._forking.release,
        )
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()
        warden = Warden(self._settings.database, self._settings.silent_seconds)
        threading.Thread(target=warden.watch, args=(self._over,), name="warden", daemon=True).start()

    def stop(self) -> None:
        """End the reaper and the warden."""
        self._over.set()

    def leave_pool(self) -> None:
        """In a pool process: let go of the pipe, so that its closing can be noticed."""
        os.close(self._drain)

    def _reap(self) -> None:
        engine = open_engine(self._settings.database)
        upkeep, looked = Upkeep.of(engine, self._settings), time.monotonic()
        most = self._settings.max_queued_per_key
        reaper = Reaper(
            JobStore(engine), ring_all, self._settings.silent_seconds, also=lambda: advance(engine, max_queued=most)
        )

        def between(round_: Callable[[], None]) -> None:
            nonlocal looked
            with self._forking:
                try:
                    round_()
                    if time.monotonic() - looked >= UPKEEP_SECONDS:
                        looked = time.monotonic()
                        upkeep.round_if_due()
                finally:
                    # A connection that is open during a fork would be closed twice.
                    engine.dispose()

        watch(reaper, self._over, between)

    def _go_down(self, *_: object) -> None:
        if not self._going_down.is_set():
            self._going_down.set()
            os.close(self._drain)
            threading.Thread(target=self._wait_then_stop, name="drain", daemon=True).start()

    def _wait_then_stop(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while not (idle := self._idle()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if idle:
            state.should_stop = 0
        else:
            log.error("jobs are still running after %.0f s; they are left to the reaper", DRAIN_SECONDS)
            state.should_terminate = 1
        # Celery may wait for ever on a lock that a killed pool process held. What is left dies with this process.
        time.sleep(FAREWELL_SECONDS)
        log.warning("Celery does not end by itself; leaving")
        os._exit(0 if idle else 1)

    def _idle(self) -> bool:
        with self._busy_file.open("rb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workers.main", description="Run one Trainyard worker.")
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu or gpu:N (default: a GPU if there is one)")
    parser.add_argument("--concurrency", type=int, default=1, help="jobs at once (default: 1)")
    parser.add_argument("--engine", default=ENGINE, help="module:function that trains; for tests")
    parser.add_argument("--preload", nargs="*", default=None, help="modules every trainer starts with; for tests")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until it is told to stop; returns the exit status."""
    options = parse(argv)
    settings = get_settings().prepare()
    configure(settings)
    try:
        check_kernel_cache()
        choice = gpu.choose(options.device)
    except (gpu.NoSuchDevice, Forbidden) as error:
        print(f"trainyard worker: {error}", file=sys.stderr)
        return 2
    try:
        _wait_for_database(settings)
    except DatabaseNewer as error:
        print(f"trainyard worker: {error.message} {error.hint}", file=sys.stderr)
        return 2
    with _meeting_place(settings.data_dir) as (busy_file, heard, said):
        duty = Duty(
            settings=settings,
            choice=choice,
            worker=f"{options.device.replace(':', '')}@{socket.gethostname()}-{secrets.token_hex(3)}",
            threads=settings.threads or max(1, gpu.cores() // max(1, options.concurrency)),
            busy_file=busy_file,
            drain=heard,
            pace=Pace(heartbeat=settings.heartbeat_seconds),
            engine=options.engine,
            preload=options.preload,
        )
        return _listen(duty, Watch(settings, busy_file, said), options.concurrency)


def _listen(duty: Duty, watching: Watch, concurrency: int) -> int:
    import workers.tasks  # noqa: F401  (registers the task)

    app = get_app()
    app.steps["worker"].add(_step(watching))
    # Whoever listens here is left alone by Celery's own idea of logging.
    signals.setup_logging.connect(_logged_already, weak=False)
    signals.worker_process_init.connect(_at_pool_start(duty, watching), weak=False)
    signals.worker_process_shutdown.connect(_at_pool_end, weak=False)
    arguments = ["worker", "--pool=prefork", f"--concurrency={concurrency}", f"--hostname={duty.worker}"]
    arguments += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    arguments += [f"--queues={queue_of(duty.choice.device.kind)}", f"--loglevel={duty.settings.log_level}"]
    try:
        app.worker_main(["--quiet", *arguments])
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    return 0


def _step(watching: Watch) -> Any:
    """A Celery boot step: after the pool has been forked, before the (perhaps endless) wait for the broker."""

    def start(_step: object, _worker: object) -> None:
        watching.start()

    def stop(_step: object, _worker: object) -> None:
        watching.stop()

    body = {"requires": ("celery.worker.components:Pool",), "start": start, "stop": stop, "terminate": stop}
    return type("WatchStep", (bootsteps.StartStopStep,), body)


def _at_pool_start(duty: Duty, watching: Watch) -> Callable[..., None]:
    def begin(**_: Any) -> None:
        watching.leave_pool()
        open_station(duty)

    return begin


def _logged_already(**_: Any) -> None:
    """The root logger stays as `main` has made it."""


def _at_pool_end(**_: Any) -> None:
    close_station()


@contextlib.contextmanager
def _meeting_place(folder: Path) -> Iterator[tuple[Path, int, int]]:
    """A file that busy pool processes hold, and a pipe that tells them to drain.

    Not in /tmp, where old files are cleared away: a worker that cannot open it any more takes no jobs.
    """
    heard, said = os.pipe()
    with tempfile.NamedTemporaryFile(prefix=".worker-", dir=folder) as busy:
        yield Path(busy.name), heard, said


def _wait_for_database(settings: Settings) -> None:
    engine = open_engine(settings.database)
    while True:
        try:
            migrate(engine)
            break
        except OUTAGE as error:
            log.warning("waiting for the database: %s", error)
            time.sleep(2.0)
    engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
