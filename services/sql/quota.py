"""What one tenant may have: queued jobs and stored bytes. Checked inside the transaction that adds something.

The tenant's other requests wait meanwhile, so that two of them never count the same free place. How many jobs a tenant
may run at once is decided when a worker takes one: `services.sql.turn`.
"""

from sqlalchemy import Connection, func, select

from services.amounts import amount
from services.errors import QuotaExceeded
from services.sql.engine import one_at_a_time
from services.sql.schema import artifacts, checkpoints, jobs, uploads
from services.sql.values import JobState


def check_queued(connection: Connection, tenant: str, most: int) -> None:
    """QuotaExceeded when the tenant has `most` jobs queued already; 0 = no limit."""
    if not most:
        return
    one_at_a_time(connection, f"quota {tenant}")
    mine = select(func.count()).select_from(jobs).where(jobs.c.tenant == tenant, jobs.c.state == JobState.QUEUED)
    if connection.execute(mine).scalar_one() >= most:
        raise QuotaExceeded(
            f"{most} jobs are queued already, which is the limit.", hint="Wait for some to finish, or cancel some."
        )


def check_stored(connection: Connection, tenant: str, most: int, more: int = 0) -> None:
    """QuotaExceeded when what the tenant has stored leaves no room for `more` bytes; 0 = no limit.

    A job is let in as long as anything is left: what it will write is not known, and no model is thrown away for it.
    """
    if not most:
        return
    one_at_a_time(connection, f"quota {tenant}")
    there = stored(connection, tenant)
    if there + more > most or there >= most:
        and_more = f", and this is {amount(more)} more" if more else ""
        raise QuotaExceeded(
            f"You have stored {amount(there)} of the {amount(most)} that one key may{and_more}.",
            hint="Delete data sets or finished jobs that are not needed any more.",
        )


def stored(connection: Connection, tenant: str) -> int:
    """Bytes of the tenant's uploads, models, other files and checkpoints; a checkpoint that jobs share counts once."""
    brought = select(func.coalesce(func.sum(uploads.c.size), 0)).where(uploads.c.tenant == tenant)
    left = select(func.coalesce(func.sum(artifacts.c.size), 0)).join(jobs, jobs.c.id == artifacts.c.job)
    kept = select(checkpoints.c.path, checkpoints.c.size).join(jobs, jobs.c.id == checkpoints.c.job)
    once = kept.where(jobs.c.tenant == tenant).distinct().subquery()
    sums = (
        brought,
        left.where(jobs.c.tenant == tenant),
        select(func.coalesce(func.sum(once.c.size), 0)),
    )
    return sum(int(connection.execute(one).scalar_one()) for one in sums)
