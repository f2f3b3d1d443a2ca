"""Uploaded data sets: what they are, the names that mean them, and reports that were worked out once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, primary_key=key)


def _upload(*, key: bool = False) -> sa.Column[str]:
    owner = sa.ForeignKey("uploads.id", ondelete="CASCADE")
    return sa.Column("upload", sa.Text(), owner, nullable=False, primary_key=key)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "uploads",
        _text("id", key=True), _text("tenant"), _text("name"), _text("kind"), _text("sha256"),
        sa.Column("size", WHOLE, nullable=False), _text("file"), _text("facts"), _text("report"), _text("samples"),
        sa.Column("created_at", sa.Double(), nullable=False),
    )  # fmt: skip
    op.create_index("uploads_by_tenant", "uploads", ["tenant", "file"])
    op.create_table("upload_names", _text("tenant", key=True), _text("name", key=True), _upload())
    op.create_index("names_by_upload", "upload_names", ["upload"])
    op.create_table(
        "upload_reports",
        _upload(key=True), _text("key", key=True), _text("report"), sa.Column("at", sa.Double(), nullable=False),
    )  # fmt: skip


def downgrade() -> None:
    """Drop the tables; the files are swept at the next start."""
    for table in ("upload_reports", "upload_names", "uploads"):
        op.drop_table(table)
