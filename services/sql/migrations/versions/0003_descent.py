"""Where a job comes from (retry, replay), what each attempt ran on, and whose turn it is to clean up."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns and a table."""
    op.add_column("jobs", sa.Column("origin", sa.Text(), nullable=True))
    op.create_index("jobs_by_parent", "jobs", ["parent_id"])
    op.add_column("attempts", sa.Column("environment", sa.Text(), nullable=True))
    op.create_table(
        "upkeep",
        sa.Column("name", sa.Text(), nullable=False, primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_table("upkeep")
    op.drop_column("attempts", "environment")
    op.drop_index("jobs_by_parent", "jobs")
    op.drop_column("jobs", "origin")
