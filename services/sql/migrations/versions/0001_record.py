"""The record: jobs, their history, checkpoints, artifacts, doorbells, workers and keys."""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from services.sql.triggers import create_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TERMINAL = sa.text("to_state IN ('succeeded', 'failed', 'cancelled')")


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, primary_key=key)


def _maybe(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=True)


def _whole(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, WHOLE, nullable=False, primary_key=key, autoincrement=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _moment(name: str, *, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double(), nullable=nullable)


def _job(*, key: bool = False) -> sa.Column[str]:
    owner = sa.ForeignKey("jobs.id", ondelete="CASCADE")
    return sa.Column("job", sa.Text(), owner, nullable=False, primary_key=key)


def upgrade() -> None:
    """Create every table, then the triggers."""
    _create_jobs()
    _create_history()
    _create_files()
    _create_service()
    for statement in create_statements(op.get_bind().dialect.name):
        op.execute(statement)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        _text("id", key=True), _text("tenant"), _text("name"), _text("labels"),
        sa.Column("state", sa.Text(), nullable=False, server_default="queued"),
        _maybe("reason"), _maybe("message"), _text("spec"), _text("outline"),
        sa.Column("device", sa.Text(), nullable=False, server_default="auto"),
        _count("priority"), _count("attempt"), _maybe("owner"),
        sa.Column("hb_seq", WHOLE, nullable=False, server_default="0"),
        _flag("cancel_requested"), _flag("stop_requested"), _count("no_progress"), _count("lost"),
        sa.Column("progress", sa.Double(), nullable=False, server_default="0"),
        sa.Column("step", WHOLE, nullable=False, server_default="0"),
        sa.Column("total_steps", WHOLE), sa.Column("epoch", sa.Integer()), _maybe("phase"),
        sa.Column("eta_seconds", sa.Double()),
        _moment("created_at"), _moment("started_at", nullable=True), _moment("finished_at", nullable=True),
        _moment("not_before"), sa.Column("max_runtime", sa.Double()),
        sa.Column("ran_seconds", sa.Double(), nullable=False, server_default="0"),
        _maybe("parent_id"), _maybe("result"), _maybe("best"), sa.Column("checkpoint_step", WHOLE), _maybe("data"),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="known_state"
        ),
        sa.CheckConstraint("(state = 'running') = (owner IS NOT NULL)", name="running_has_owner"),
        sa.CheckConstraint("state <> 'succeeded' OR result IS NOT NULL", name="success_has_result"),
    )  # fmt: skip
    op.create_index("jobs_by_tenant", "jobs", ["tenant", "id"])
    op.create_index("jobs_in_line", "jobs", ["state", sa.text("priority DESC"), "id"])
    op.create_table("job_labels", _job(key=True), _text("label", key=True))
    op.create_index("jobs_by_label", "job_labels", ["label", "job"])


def _create_history() -> None:
    op.create_table(
        "attempts",
        _job(key=True), sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        _text("worker"), _text("device"), _maybe("outcome"), _maybe("message"),
        _moment("started_at"), _moment("finished_at", nullable=True), sa.Column("start_step", WHOLE),
    )  # fmt: skip
    op.create_table(
        "job_events",
        sa.Column("number", WHOLE, primary_key=True, autoincrement=True),
        _job(), sa.Column("attempt", sa.Integer(), nullable=False), _text("kind"), _maybe("to_state"),
        sa.Column("step", WHOLE), _text("data"), _moment("at"),
        sqlite_autoincrement=True,
    )  # fmt: skip
    op.create_index("events_by_job", "job_events", ["job", "number"])
    op.create_index(
        "one_terminal", "job_events", ["job"], unique=True, sqlite_where=TERMINAL, postgresql_where=TERMINAL
    )
    op.create_table(
        "metrics",
        _job(key=True), _whole("step", key=True), _text("name", key=True),
        sa.Column("attempt", sa.Integer(), nullable=False), sa.Column("value", sa.Double()), _moment("at"),
    )  # fmt: skip


def _create_files() -> None:
    op.create_table(
        "checkpoints",
        _job(key=True), _whole("step", key=True), sa.Column("attempt", sa.Integer(), nullable=False),
        _text("path"), _text("sha256"), _whole("size"), _flag("best"), _moment("at"),
    )  # fmt: skip
    op.create_index("checkpoints_by_path", "checkpoints", ["path"])
    op.create_table(
        "artifacts",
        _job(key=True), _text("name", key=True), sa.Column("attempt", sa.Integer(), nullable=False),
        _text("path"), _text("sha256"), _whole("size"),
    )  # fmt: skip


def _create_service() -> None:
    op.create_table("outbox", _job(key=True), _moment("due_at"), _count("rings"))
    op.create_index("bells_by_time", "outbox", ["due_at"])
    op.create_table(
        "workers",
        _text("id", key=True), _text("host"), sa.Column("pid", sa.Integer(), nullable=False),
        _text("device"), _maybe("current_job"), _moment("seen_at"),
    )  # fmt: skip
    op.create_table(
        "api_keys",
        _text("id", key=True), _text("name"), _text("tenant"), _text("sha256"), _text("scopes"),
        _moment("created_at"), _moment("expires_at", nullable=True), _moment("revoked_at", nullable=True),
        _moment("last_used_at", nullable=True),
    )  # fmt: skip
    op.create_table(
        "idempotency",
        _text("tenant", key=True), _text("key_sha", key=True), _text("body_sha"), _job(), _moment("at"),
    )  # fmt: skip


def downgrade() -> None:
    """There is nothing before the first revision."""
    raise CommandError("The first revision cannot be undone: to begin anew, use an empty database.")
