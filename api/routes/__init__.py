"""The routes, one noun per file; `ROUTERS` is what the application serves."""

from typing import Final

from api.routes import catalog, datasets, diagnostics, events, fleet, health, jobs, models, page, pictures

ROUTERS: Final = (
    catalog.router,
    jobs.router,
    events.router,
    diagnostics.router,
    pictures.router,
    models.router,
    datasets.router,
    fleet.router,
    health.router,
    page.router,
)
