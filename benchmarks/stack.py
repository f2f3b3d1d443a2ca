"""A whole Trainyard of its own in a temporary folder, to be measured: broker, API, and as many workers as asked."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from api.broker import open_broker
from api.child import Child, wait_until
from api.client import Client
from api.serve import await_ready, environment, listen, python, reachable
from services.settings import Settings

WORKER_SECONDS = 180.0
API_GRACE, WORKER_GRACE = 6.0, 60.0


@final
@dataclass(frozen=True)
class Site:
    """A running stack: where it answers, with which key, and its processes by name."""

    url: str
    key: str
    settings: Settings
    children: dict[str, Child]

    def client(self) -> Client:
        """A new client with the admin key."""
        return Client(self.url, self.key)


def settings_of(folder: Path, **changes: Any) -> Settings:
    """Settings for a stack in `folder`: no limit on the queue, a port of its own, one thread per trainer."""
    values: dict[str, Any] = {"port": 0, "max_queued_per_key": 0, "threads": 1, "log_level": "warning"}
    if "TRAINYARD_DATASETS_DIR" in os.environ:
        values["datasets_dir"] = Path(os.environ["TRAINYARD_DATASETS_DIR"])
    return Settings(_env_file=None, data_dir=folder, **{**values, **changes})


@contextlib.contextmanager
def site(workers: int = 1, folder: Path | None = None, **changes: Any) -> Iterator[Site]:
    """Start a stack and wait until the API answers and every worker has reported; at the end stop everything."""
    with contextlib.ExitStack() as undo:
        place = folder or Path(undo.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        settings = settings_of(place, **changes).prepare()
        listener = undo.enter_context(listen(settings))
        broker = open_broker(settings.redis_url, settings.data_dir)
        undo.callback(broker.stop)
        env = environment(settings, broker.url)
        api = python(settings, env, "api", ["api.listen", str(listener.fileno())], fd=listener.fileno())
        undo.callback(api.stop, API_GRACE)
        children = {"api": api}
        url = reachable(listener)
        await_ready(url, [api])
        for number in range(workers):
            name = f"worker-{number + 1}"
            children[name] = python(settings, env, name, ["workers.main", "--device", "cpu"])
            undo.callback(children[name].stop, WORKER_GRACE)
        found = Site(url, (settings.data_dir / "admin_key").read_text().strip(), settings, children)
        with found.client() as client:
            if not wait_until(lambda: len(client.workers()) >= workers, WORKER_SECONDS, 0.2):
                raise SystemExit(f"a worker did not start:\n{children['worker-1'].last_words()}")
        yield found
