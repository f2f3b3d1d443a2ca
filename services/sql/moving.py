"""Move a record from one database to another, for example from SQLite to PostgreSQL, in one transaction."""

from typing import Final

from sqlalchemy import Connection, Engine, func, select, text

from services.errors import Conflict
from services.sql.engine import insert_many, migrate, reading, writing
from services.sql.schema import METADATA, api_keys, events, jobs, uploads

BATCH: Final = 1_000


def move(source: Engine, target: Engine) -> dict[str, int]:
    """Copy every row; rows by table. Conflict when the target holds anything already. The source is left as it is.

    Nothing may write to the source meanwhile.
    """
    migrate(source)
    migrate(target)
    counts: dict[str, int] = {}
    with reading(source) as old, writing(target) as new:
        _refuse_in_use(new)
        for table in METADATA.sorted_tables:
            rows = old.execution_options(yield_per=BATCH).execute(select(table)).mappings()
            counts[table.name] = 0
            for some in rows.partitions(BATCH):
                insert_many(new, table, [dict(row) for row in some])
                counts[table.name] += len(some)
        _go_on_counting(new)
    return counts


def _refuse_in_use(connection: Connection) -> None:
    for table in (jobs, uploads, api_keys):
        if connection.execute(select(func.count()).select_from(table)).scalar():
            raise Conflict(
                f"There are {table.name.replace('_', ' ')} in that database already.", hint="Name an empty one."
            )


def _go_on_counting(connection: Connection) -> None:
    """Let the numbers of new events follow the highest one that was copied."""
    highest = connection.execute(select(func.max(events.c.number))).scalar()
    if connection.dialect.name == "postgresql" and highest:
        sequence = "SELECT setval(pg_get_serial_sequence('job_events', 'number'), :highest)"
        connection.execute(text(sequence), {"highest": highest})
