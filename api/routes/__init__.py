"""The routes, one noun per file; `ROUTERS` is what the application serves."""

from typing import Final

from api.routes import catalog, datasets, descent, events, fleet, health, jobs, models, page, pictures, studies

ROUTERS: Final = (
    catalog.router,
    jobs.router,
    descent.router,
    events.router,
    pictures.router,
    models.router,
    datasets.router,
    studies.router,
    fleet.router,
    health.router,
    page.router,
)
