"""Audit events: who did what, when, from where, and how it ended."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, *, missing: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=missing)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "audit",
        sa.Column("number", WHOLE, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double(), nullable=False),
        _text("key", missing=True), _text("tenant", missing=True), _text("action"), _text("object", missing=True),
        _text("outcome"), sa.Column("status", sa.Integer(), nullable=False), _text("request_id"), _text("address"),
        sa.Column("skipped", sa.Integer(), nullable=False, server_default="0"),
        sqlite_autoincrement=True,
    )  # fmt: skip
    op.create_index("audit_by_outcome", "audit", ["outcome", "number"])
    op.create_index("audit_by_time", "audit", ["at"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("audit")
