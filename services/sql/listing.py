"""Which of a tenant's jobs a page of a list holds."""

from typing import Any

from sqlalchemy import Select, select

from services.errors import Invalid, Mistake
from services.sql.ids import is_id
from services.sql.schema import jobs, labels
from services.sql.types import storable
from services.sql.values import JobState


def page_of(
    tenant: str, state: JobState | None, label: str | None, cursor: str | None, limit: int
) -> Select[Any] | None:
    """One row more than a page has; None where a label cannot be anybody's."""
    if cursor is not None and not is_id(cursor):
        raise Invalid([Mistake("cursor", "bad_cursor", "this is no cursor of ours", "Take next_cursor of a page.")])
    if label is not None and not storable(label):
        return None
    return _listing(tenant, state, label, cursor).limit(limit + 1)


def _listing(tenant: str, state: JobState | None, label: str | None, cursor: str | None) -> Select[Any]:
    """A tenant's jobs, newest first."""
    listing = select(jobs).where(jobs.c.tenant == tenant).order_by(jobs.c.id.desc())
    if state is not None:
        listing = listing.where(jobs.c.state == str(state))
    if cursor is not None:
        listing = listing.where(jobs.c.id < cursor)
    if label is not None:
        listing = listing.where(jobs.c.id.in_(select(labels.c.job).where(labels.c.label == label)))
    return listing
