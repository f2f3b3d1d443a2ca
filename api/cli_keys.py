"""Commands about API keys; they work on this machine's database, so only the server's owner can use them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api import console
from api.console import out
from api.session import AsJson, emit
from services.settings import get_settings

if TYPE_CHECKING:
    from services.keys import Key, KeyStore

app = typer.Typer(help="API keys; on the server's own machine.", no_args_is_help=True)


@contextmanager
def key_store() -> "Iterator[KeyStore]":
    """The keys in this machine's database."""
    from services.keys import KeyStore, pepper_of
    from services.sql.engine import migrate, open_engine

    settings = get_settings().prepare()
    engine = open_engine(settings.database)
    try:
        migrate(engine)
        yield KeyStore(engine, pepper_of(settings.data_dir))
    finally:
        engine.dispose()


@app.command("create")
def create_key(
    name: str,
    scopes: Annotated[str, typer.Option(help="Of read, submit, cancel, admin; with commas.")] = "read,submit,cancel",
    days: Annotated[float | None, typer.Option(min=0, help="Valid for so many days; otherwise until revoked.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose jobs it shares; otherwise a new owner of its own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is shown now and never again."""
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with key_store() as store:
        key, secret = store.create(name, [scope.strip() for scope in scopes.split(",")], expires, tenant=tenant)
        note(store, "create_key", key)
    emit({**key_row(key), "secret": secret}) if as_json else print(secret)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List keys, revoked ones too."""
    with key_store() as store:
        found = [key_row(key) for key in store.keys()]  # noqa: SIM118
    columns = ("id", "name", "tenant", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
    emit(found) if as_json else out.print(console.table(columns, [[row[name] for name in columns] for row in found]))


@app.command("revoke")
def revoke_key(id: str, as_json: AsJson = False) -> None:
    """Make a key useless at once."""
    with key_store() as store:
        key = store.revoke(id)
        note(store, "revoke_key", key)
    emit(key_row(key)) if as_json else out.print(f"{key.id} is revoked", markup=False)


def note(store: "KeyStore", action: str, key: "Key") -> None:
    """Tell the audit log what was done here, past the API."""
    from services.audit import COMMAND_LINE, AuditLog, Deed

    deed = Deed(action, "done", 0, secrets.token_hex(16), COMMAND_LINE, tenant=key.tenant, object=key.id)
    AuditLog(store.engine).note(deed)


def key_row(key: "Key") -> dict[str, Any]:
    """A key without its secret."""
    times = {name: getattr(key, name) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")}
    shown = {name: at and at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in times.items()}
    return {"id": key.id, "name": key.name, "tenant": key.tenant, "scopes": ", ".join(sorted(key.scopes)), **shown}
