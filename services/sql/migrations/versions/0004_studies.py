"""Studies and their trials: what is to be found out, and which job answers for which part of it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, *, key: bool = False, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=null, primary_key=key)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "studies",
        _text("id", key=True), _text("tenant"), _text("name"), _text("labels"), _text("type"),
        sa.Column("state", sa.Text(), nullable=False, server_default="running"),
        _text("message", null=True), _text("spec"), _text("plan"),
        sa.Column("version", WHOLE, nullable=False, server_default="0"),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False, server_default=sa.false()),
        _text("key_sha", null=True), _text("body_sha", null=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        _text("result", null=True),
        sa.CheckConstraint("state IN ('running', 'succeeded', 'failed', 'cancelled')", name="known_study_state"),
        sa.CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished_study_has_time"),
    )  # fmt: skip
    op.create_index("studies_by_tenant", "studies", ["tenant", "id"])
    op.create_index("studies_by_state", "studies", ["state"])
    op.create_index("studies_by_request", "studies", ["tenant", "key_sha"], unique=True)
    op.create_table(
        "trials",
        sa.Column("study", sa.Text(), sa.ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        _text("key"), _text("varied"), _text("spec"), _text("outline"), _text("job", null=True),
        _text("brief", null=True), _text("outcome", null=True),
    )  # fmt: skip
    op.create_index("one_trial_per_key", "trials", ["study", "key"], unique=True)
    op.create_index("one_trial_per_job", "trials", ["job"], unique=True)


def downgrade() -> None:
    """Drop the tables; jobs that were trials stay as jobs."""
    for table in ("trials", "studies"):
        op.drop_table(table)
