"""The routes, one noun per file; `ROUTERS` is what the application serves."""

from typing import Final

from api.routes import (
    catalog,
    datasets,
    descent,
    diagnostics,
    events,
    fleet,
    health,
    jobs,
    keys,
    models,
    page,
    pictures,
    studies,
)  # fmt: skip

ROUTERS: Final = (
    catalog.router,
    jobs.router,
    descent.router,
    events.router,
    diagnostics.router,
    pictures.router,
    models.router,
    datasets.router,
    studies.router,
    fleet.router,
    keys.router,
    health.router,
    page.router,
)
