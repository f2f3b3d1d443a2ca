"""The application: `create_app` puts routes, guards and limits together.

`python -m api.listen` serves it; with another server, have it believe no forwarded headers: that is done here.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from types import FrameType
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles

from api import errors
from api.audit import Auditing
from api.bells import Bells
from api.deps import Record, admit, check_guards
from api.limits import AllowedHosts, BodyLimit, RequestId
from api.logins import Logins
from api.measures import Counting, Measures
from api.models import Shelf
from api.openapi import TITLE, VERSION, document, operation_id
from api.proxy import Forwarded
from api.routes import ROUTERS
from api.routes.page import WEB
from api.sse import Stream
from services import spec
from services.artifacts import ArtifactStore
from services.audit import AuditLog
from services.fleet import Fleet
from services.jobs import JobStore
from services.keys import KeyStore, pepper_of
from services.private import check_kernel_cache
from services.settings import Settings, get_settings
from services.sql.engine import migrate, open_engine
from services.studies.spec import study_schema
from services.studies.store import StudyStore
from services.uploads.desk import Desk
from services.uploads.folder import UploadFolder
from services.uploads.store import UploadStore
from workers.doorbell import ring_all

ANYWHERE = frozenset({"0.0.0.0", "::", ""})
BUSY_SECONDS = 5
"""A request waits this long for its turn to write, then it is told to come again; workers are more patient."""
INSPECTIONS = 2
"""Child processes at once that read uploads; further requests wait for their turn."""
DRAIN_SECONDS = 3
"""For `uvicorn --timeout-graceful-shutdown`: open event streams would otherwise keep the server from ending."""


def create_app(settings: Settings | None = None, ring: Callable[[Sequence[str]], object] = ring_all) -> FastAPI:
    """The application; raises Unguarded when a route would be served without a key."""
    settings = settings or get_settings()
    measures = Measures()
    app = FastAPI(
        title=TITLE,
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(admit)],
        generate_unique_id_function=operation_id,
        lifespan=lambda app: _lifespan(app, settings, measures, ring),
    )
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=WEB))
    app.mount("/static-offline-docs", StaticFiles(directory=str(files("fastapi_offline") / "static")))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    errors.install(app)
    # The last one added stands outermost.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(AllowedHosts, hosts=settings.hosts - ANYWHERE)
    app.add_middleware(Counting, measures=measures)
    app.add_middleware(Auditing)
    app.add_middleware(RequestId)
    if settings.behind_proxy:
        app.add_middleware(Forwarded)
    check_guards(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(
    app: FastAPI, settings: Settings, measures: Measures, ring: Callable[[Sequence[str]], object]
) -> AsyncIterator[None]:
    """Open the record, ring bells and poll events for as long as the application serves."""
    record = open_record(settings, measures, ring)
    app.state.record = record
    record.bells.start()
    poller = asyncio.create_task(record.stream.run())
    try:
        with _streams_end_on_signals(record.stream):
            yield
    finally:
        poller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await poller
        await asyncio.to_thread(record.bells.stop)
        record.desk.inspector.stop()
        record.inspections.shutdown(cancel_futures=True)
        record.jobs.engine.dispose()


@contextlib.contextmanager
def _streams_end_on_signals(stream: Stream) -> Iterator[None]:
    """Close open event streams as soon as the server is told to end: it waits for them before it ends the lifespan."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, handlers = asyncio.get_running_loop(), {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stream.close)
        then = handlers[signal.Signals(number)]
        if callable(then):
            then(number, frame)

    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def open_record(settings: Settings, measures: Measures, ring: Callable[[Sequence[str]], object]) -> Record:
    """Open the database and the artifact folder, bring the schema up to date, make the first key."""
    settings.prepare()
    check_kernel_cache()
    engine = open_engine(settings.database, busy_seconds=BUSY_SECONDS)
    migrate(engine)
    jobs = JobStore(
        engine,
        max_queued=settings.max_queued_per_key,
        max_running=settings.max_running_per_key,
        max_stored_bytes=settings.max_stored_bytes_per_key,
    )
    keys = KeyStore(engine, pepper_of(settings.data_dir))
    keys.ensure_admin(settings.data_dir)
    audit = AuditLog(engine, settings.audit_days)
    audit.sweep()
    settings.artifacts_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    artifacts = ArtifactStore(settings.artifacts_dir)
    desk = Desk(
        UploadStore(engine, max_stored_bytes=settings.max_stored_bytes_per_key),
        UploadFolder(settings.artifacts_dir),
        settings.datasets_dir,
    )
    desk.folder.sweep(desk.store.files)
    return Record(
        settings=settings,
        jobs=jobs,
        keys=keys,
        logins=Logins(keys),
        audit=audit,
        fleet=Fleet(engine),
        artifacts=artifacts,
        shelf=Shelf(jobs, artifacts),
        stream=Stream(jobs),
        bells=Bells(jobs, ring),
        measures=measures,
        desk=desk,
        inspections=ThreadPoolExecutor(INSPECTIONS, "inspection"),
        studies=StudyStore(engine, max_queued=settings.max_queued_per_key),
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = document(app, spec.job_schema(), study_schema())
    return app.openapi_schema
