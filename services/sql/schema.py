"""The tables as SQLAlchemy Core sees them. The migrations create them; a test compares the two."""

from typing import Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    false,
    text,
)

from services.sql.types import JsonText, Moment, Real, Whole

METADATA: Final = MetaData()


def _job_id(*, primary_key: bool = False) -> Column[str]:
    """A column of rows that go when their job goes."""
    return Column("job", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, primary_key=primary_key)


jobs: Final = Table(
    "jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("labels", JsonText, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    Column("reason", Text),
    Column("message", Text),
    Column("spec", JsonText, nullable=False),
    Column("outline", JsonText, nullable=False),
    Column("device", Text, nullable=False, server_default="auto"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("hb_seq", Whole, nullable=False, server_default="0"),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("stop_requested", Boolean, nullable=False, server_default=false()),
    Column("no_progress", Integer, nullable=False, server_default="0"),
    Column("lost", Integer, nullable=False, server_default="0"),
    Column("storage_waits", Integer, nullable=False, server_default="0"),
    Column("progress", Double, nullable=False, server_default="0"),
    Column("step", Whole, nullable=False, server_default="0"),
    Column("total_steps", Whole),
    Column("epoch", Integer),
    Column("phase", Text),
    Column("eta_seconds", Double),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("not_before", Moment, nullable=False),
    Column("max_runtime", Double),
    Column("ran_seconds", Double, nullable=False, server_default="0"),
    Column("parent_id", Text),
    Column("origin", Text),
    Column("result", JsonText),
    Column("best", JsonText),
    Column("checkpoint_step", Whole),
    Column("data", JsonText),
    Column("task", Text),
    Column("memory_cpu", Whole, nullable=False, server_default="0"),
    Column("memory_gpu", Whole, nullable=False, server_default="0"),
    Column("flops_per_step", Double),
    Column("step_seconds", Double),
    Column("expected_seconds", Double),
    CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="known_state"),
    CheckConstraint("(state = 'running') = (owner IS NOT NULL)", name="running_has_owner"),
    CheckConstraint("state <> 'succeeded' OR result IS NOT NULL", name="success_has_result"),
    Index("jobs_by_tenant", "tenant", "id"),
    Index("jobs_by_parent", "parent_id"),
    Index("jobs_by_state", "tenant", "state", "id"),
    # Everything that a claim looks at, so that it reads no job but the one it takes: rows are large.
    Index(
        "jobs_by_lane",
        "state",
        "device",
        "tenant",
        text("priority DESC"),
        "id",
        "not_before",
        "attempt",
        "memory_cpu",
        "memory_gpu",
        "expected_seconds",
    ),
    Index("jobs_in_line", "state", text("priority DESC"), "id", "not_before", "device", "tenant"),
)

turns: Final = Table(
    "turns",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("number", Whole, nullable=False),
)

labels: Final = Table(
    "job_labels",
    METADATA,
    _job_id(primary_key=True),
    Column("label", Text, primary_key=True),
    Index("jobs_by_label", "label", "job"),
)

attempts: Final = Table(
    "attempts",
    METADATA,
    _job_id(primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("outcome", Text),
    Column("message", Text),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("start_step", Whole),
    Column("environment", JsonText),
)

events: Final = Table(
    "job_events",
    METADATA,
    Column("number", Whole, primary_key=True, autoincrement=True),
    _job_id(),
    Column("attempt", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("to_state", Text),
    Column("step", Whole),
    Column("data", JsonText, nullable=False),
    Column("at", Moment, nullable=False),
    Index("events_by_job", "job", "number"),
    Index(
        "metric_events",
        "job",
        "step",
        sqlite_where=text("kind = 'metric'"),
        postgresql_where=text("kind = 'metric'"),
    ),
    Index(
        "log_events",
        "job",
        "number",
        sqlite_where=text("kind = 'log'"),
        postgresql_where=text("kind = 'log'"),
    ),
    Index(
        "one_terminal",
        "job",
        unique=True,
        sqlite_where=text("to_state IN ('succeeded', 'failed', 'cancelled')"),
        postgresql_where=text("to_state IN ('succeeded', 'failed', 'cancelled')"),
    ),
    sqlite_autoincrement=True,
)

metrics: Final = Table(
    "metrics",
    METADATA,
    _job_id(primary_key=True),
    Column("step", Whole, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("value", Real),
    Column("at", Moment, nullable=False),
)

checkpoints: Final = Table(
    "checkpoints",
    METADATA,
    _job_id(primary_key=True),
    Column("step", Whole, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", Whole, nullable=False),
    Column("best", Boolean, nullable=False, server_default=false()),
    Column("at", Moment, nullable=False),
    Index("checkpoints_by_path", "path"),
)

artifacts: Final = Table(
    "artifacts",
    METADATA,
    _job_id(primary_key=True),
    Column("name", Text, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", Whole, nullable=False),
)

outbox: Final = Table(
    "outbox",
    METADATA,
    _job_id(primary_key=True),
    Column("due_at", Moment, nullable=False),
    Column("rings", Integer, nullable=False, server_default="0"),
    Index("bells_by_time", "due_at"),
)

uploads: Final = Table(
    "uploads",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", Whole, nullable=False),
    Column("file", Text, nullable=False),
    Column("facts", JsonText, nullable=False),
    Column("report", JsonText, nullable=False),
    Column("samples", JsonText, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("uploads_by_tenant", "tenant", "file"),
)


def _upload_id(*, primary_key: bool = False) -> Column[str]:
    """A column of rows that go when their upload goes."""
    return Column("upload", Text, ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False, primary_key=primary_key)


upload_names: Final = Table(
    "upload_names",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    _upload_id(),
    Index("names_by_upload", "upload"),
)

upload_reports: Final = Table(
    "upload_reports",
    METADATA,
    _upload_id(primary_key=True),
    Column("key", Text, primary_key=True),
    Column("report", JsonText, nullable=False),
    Column("at", Moment, nullable=False),
)

workers: Final = Table(
    "workers",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", JsonText, nullable=False),
    Column("current_job", Text),
    Column("draining", Boolean, nullable=False, server_default=false()),
    Column("seen_at", Moment, nullable=False),
)

api_keys: Final = Table(
    "api_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("scopes", JsonText, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
)

idempotency: Final = Table(
    "idempotency",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("key_sha", Text, primary_key=True),
    Column("body_sha", Text, nullable=False),
    _job_id(),
    Column("at", Moment, nullable=False),
)

upkeep: Final = Table(
    "upkeep",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("at", Moment, nullable=False),
)

studies: Final = Table(
    "studies",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("labels", JsonText, nullable=False),
    Column("type", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="running"),
    Column("message", Text),
    Column("spec", JsonText, nullable=False),
    Column("plan", JsonText, nullable=False),
    Column("version", Whole, nullable=False, server_default="0"),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("key_sha", Text),
    Column("body_sha", Text),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("result", JsonText),
    CheckConstraint("state IN ('running', 'succeeded', 'failed', 'cancelled')", name="known_study_state"),
    CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished_study_has_time"),
    Index("studies_by_tenant", "tenant", "id"),
    Index("studies_by_state", "state"),
    Index("studies_by_request", "tenant", "key_sha", unique=True),
)

trials: Final = Table(
    "trials",
    METADATA,
    Column("study", Text, ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False),
    Column("varied", JsonText, nullable=False),
    Column("spec", JsonText, nullable=False),
    Column("outline", JsonText, nullable=False),
    Column("job", Text),
    Column("brief", JsonText),
    Column("outcome", JsonText),
    Index("one_trial_per_key", "study", "key", unique=True),
    Index("one_trial_per_job", "job", unique=True),
)

audit: Final = Table(
    "audit",
    METADATA,
    Column("number", Whole, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    Column("key", Text),
    Column("tenant", Text),
    Column("action", Text, nullable=False),
    Column("object", Text),
    Column("outcome", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("skipped", Integer, nullable=False, server_default="0"),
    Index("audit_by_outcome", "outcome", "number"),
    Index("audit_by_time", "at"),
    sqlite_autoincrement=True,
)
