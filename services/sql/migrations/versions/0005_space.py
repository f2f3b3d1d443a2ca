"""How often a job has waited for disk space."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; older programs go on without it."""
    op.add_column("jobs", sa.Column("storage_waits", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("jobs", "storage_waits")
