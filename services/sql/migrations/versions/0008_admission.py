"""Admission: what a job needs and will take, whose turn it is, and which workers are going down."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
REALS = ("flops_per_step", "step_seconds", "expected_seconds")
BYTES = ("memory_cpu", "memory_gpu")


def upgrade() -> None:
    """Jobs that are queued already need nothing that is known, and fit everywhere as before."""
    op.add_column("jobs", sa.Column("task", sa.Text(), nullable=True))
    for name in BYTES:
        op.add_column("jobs", sa.Column(name, WHOLE, nullable=False, server_default="0"))
    for name in REALS:
        op.add_column("jobs", sa.Column(name, sa.Double(), nullable=True))
    lane: list[str | sa.TextClause] = ["state", "device", "tenant", sa.text("priority DESC"), "id"]
    lane += ["not_before", "attempt", *BYTES, "expected_seconds"]
    op.create_index("jobs_by_lane", "jobs", lane)
    op.create_table(
        "turns",
        sa.Column("tenant", sa.Text(), primary_key=True),
        sa.Column("number", WHOLE, nullable=False),
    )
    op.add_column("workers", sa.Column("draining", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Forget all of it."""
    op.drop_column("workers", "draining")
    op.drop_table("turns")
    op.drop_index("jobs_by_lane", "jobs")
    for name in (*REALS, *BYTES, "task"):
        op.drop_column("jobs", name)
