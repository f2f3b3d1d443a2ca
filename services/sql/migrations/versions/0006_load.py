"""Indexes for a long line, many finished jobs and long series: no query walks over rows it does not want."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _of_kind(name: str, kind: str, columns: list[str]) -> None:
    """An index over the events of one kind."""
    only = sa.text(f"kind = '{kind}'")
    op.create_index(name, "job_events", columns, sqlite_where=only, postgresql_where=only)


def upgrade() -> None:
    """The line's index answers by itself; a tenant's jobs by state; the tail of a series; log lines."""
    op.drop_index("jobs_in_line", "jobs")
    urgent = sa.text("priority DESC")
    op.create_index("jobs_in_line", "jobs", ["state", urgent, "id", "not_before", "device", "tenant"])
    op.create_index("jobs_by_state", "jobs", ["tenant", "state", "id"])
    _of_kind("metric_events", "metric", ["job", "step"])
    _of_kind("log_events", "log", ["job", "number"])


def downgrade() -> None:
    """Back to the shorter index of the line."""
    for name, table in (("log_events", "job_events"), ("metric_events", "job_events"), ("jobs_by_state", "jobs")):
        op.drop_index(name, table)
    op.drop_index("jobs_in_line", "jobs")
    op.create_index("jobs_in_line", "jobs", ["state", sa.text("priority DESC"), "id"])
