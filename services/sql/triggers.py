"""What the database itself refuses, whatever a program asks: see the transition table in docs/state_machine.md."""

from typing import Final

_TERMINAL = "OLD.state IN ('succeeded', 'failed', 'cancelled')"
RULES: Final = (
    ("finished_is_final", _TERMINAL, "a finished job is immutable"),
    ("attempt_never_back", "NEW.attempt < OLD.attempt", "attempt never goes back"),
    (
        "queue_before_finish",
        "OLD.state = 'queued' AND NEW.state IN ('succeeded', 'failed')",
        "a queued job cannot finish without running",
    ),
    (
        "claim_takes_new_attempt",
        "OLD.state = 'queued' AND NEW.state = 'running' AND NEW.attempt <> OLD.attempt + 1",
        "a claim takes the next attempt",
    ),
)


def _sqlite() -> list[str]:
    """One BEFORE UPDATE trigger per rule."""
    return [
        f"CREATE TRIGGER {name} BEFORE UPDATE ON jobs FOR EACH ROW WHEN {condition} "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        for name, condition, message in RULES
    ]


def _postgresql() -> list[str]:
    """One function with every rule, one trigger."""
    checks = " ".join(
        f"IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END IF;"
        for _, condition, message in RULES
    )
    return [
        f"CREATE FUNCTION jobs_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {checks} RETURN NEW; END $$",
        "CREATE TRIGGER jobs_guard BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION jobs_guard()",
    ]


def create_statements(dialect: str) -> list[str]:
    """The DDL of every rule for "sqlite" or "postgresql"."""
    return _sqlite() if dialect == "sqlite" else _postgresql()
