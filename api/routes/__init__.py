"""The routes, one noun per file; `ROUTERS` is what the application serves."""

from typing import Final

from api.routes import catalog, datasets, events, fleet, health, jobs, keys, models, page, pictures

ROUTERS: Final = (
    catalog.router,
    jobs.router,
    events.router,
    pictures.router,
    models.router,
    datasets.router,
    fleet.router,
    keys.router,
    health.router,
    page.router,
)
