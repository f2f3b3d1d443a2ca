"""What the service is measured beside: the least that FastAPI with SQLite, and Celery with Redis, can do here.

`python -m benchmarks.peers insert PORT FOLDER` serves two inserts a request and nothing else; `tasks` is a Celery
application whose one task does nothing. Both live in processes of their own, as the service does.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import threading
import time
from pathlib import Path

import uvicorn
from celery import Celery
from fastapi import FastAPI, Request

MARK = "PEER_BROKER"


def bare_insert(folder: Path) -> FastAPI:
    """POST / writes the body as two rows and commits to the disk; GET / reads the newest row. No key, no checks."""
    app, local = FastAPI(openapi_url=None), threading.local()
    file = folder / "peer.db"

    def database() -> sqlite3.Connection:
        if not hasattr(local, "line"):
            local.line = sqlite3.connect(file, isolation_level=None, timeout=30)
            for words in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 30000"):
                local.line.execute(f"PRAGMA {words}")
        line: sqlite3.Connection = local.line
        return line

    for table in ("jobs", "events"):
        database().execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, body BLOB)")

    def write(body: bytes) -> int:
        line = database()
        line.execute("BEGIN IMMEDIATE")
        id = line.execute("INSERT INTO jobs (body) VALUES (?)", (body,)).lastrowid
        line.execute("INSERT INTO events (body) VALUES (?)", (b"queued",))
        line.execute("COMMIT")
        return id or 0

    @app.post("/", status_code=202)
    async def submit(request: Request) -> dict[str, int]:
        from starlette.concurrency import run_in_threadpool

        return {"id": await run_in_threadpool(write, await request.body())}

    @app.get("/")
    def show() -> dict[str, str]:
        row = database().execute("SELECT body FROM jobs ORDER BY id DESC LIMIT 1").fetchone()
        return {"body": row[0].decode() if row else ""}

    return app


def celery_app() -> Celery:
    """Celery with its usual settings on the broker named in the environment, results in the same Redis."""
    url = os.environ.get(MARK, "memory://")
    app = Celery("peer", broker=url, backend=url if url.startswith("redis") else "cache+memory://")
    app.conf.update(worker_enable_remote_control=False)
    app.task(name="peer.nothing")(nothing)
    return app


def nothing() -> int:
    """The task."""
    return 1


tasks = celery_app()


def round_trips(count: int) -> list[float]:
    """Seconds from sending a task to having its result, one after the other; a worker must be running."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        tasks.send_task("peer.nothing").get(timeout=60)
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    """`insert PORT FOLDER` serves; `trips COUNT` prints the median of so many round trips in seconds."""
    if sys.argv[1] == "insert":
        uvicorn.run(bare_insert(Path(sys.argv[3])), port=int(sys.argv[2]), access_log=False, log_level="warning")
    else:
        round_trips(10)
        print(statistics.median(round_trips(int(sys.argv[2]))))


if __name__ == "__main__":
    main()
