"""API keys: shown once, stored hashed, useless when revoked or expired."""

import hmac
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from services.errors import Invalid, NotFound, Unauthorized
from services.keys import ADMIN_TENANT, KeyStore, pepper_of
from services.sql.engine import reading
from services.sql.schema import api_keys
from services.sql.types import utc_now


@pytest.fixture
def keys(engine: Engine) -> KeyStore:
    """The keys of an empty database."""
    return KeyStore(engine)


def test_a_secret_opens_what_its_scopes_say(keys: KeyStore) -> None:
    key, secret = keys.create("laptop", ["read", "submit"])
    assert re.fullmatch(r"ty_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", secret)
    known = keys.verify(secret)
    assert (known.id, known.tenant, known.name) == (key.id, key.id, "laptop")
    assert [known.allows(scope) for scope in ("read", "submit", "cancel", "admin")] == [True, True, False, False]


def test_the_database_never_sees_the_secret(keys: KeyStore, engine: Engine) -> None:
    _, secret = keys.create("laptop", ["read"])
    with reading(engine) as connection:
        row = connection.execute(select(api_keys)).mappings().one()
    assert secret.rsplit("_", 1)[-1] not in str(dict(row))


def test_keys_of_one_tenant_share_its_jobs_and_others_do_not(keys: KeyStore) -> None:
    first, _ = keys.create("a", ["read"], tenant="course")
    second, _ = keys.create("b", ["read"], tenant="course")
    other, _ = keys.create("c", ["read"])
    assert first.tenant == second.tenant != other.tenant


@pytest.mark.parametrize("secret", ["", "ty", "ty__", "ty_0_x", "Bearer x", "ty_\0_x", "ty_\ud800_x", "x" * 10_000])
def test_garbage_is_unauthorized(keys: KeyStore, secret: str) -> None:
    with pytest.raises(Unauthorized):
        keys.verify(secret)


def test_a_known_id_with_another_secret_is_unauthorized(keys: KeyStore) -> None:
    _, secret = keys.create("laptop", ["read"])
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    with pytest.raises(Unauthorized):
        keys.verify(wrong)


def test_a_revoked_key_is_useless_at_once(keys: KeyStore) -> None:
    key, secret = keys.create("laptop", ["read"])
    keys.verify(secret)
    assert keys.revoke(key.id).revoked_at is not None
    with pytest.raises(Unauthorized):
        keys.verify(secret)


def test_an_expired_key_is_useless(keys: KeyStore) -> None:
    _, secret = keys.create("laptop", ["read"], utc_now() - timedelta(seconds=1))
    with pytest.raises(Unauthorized):
        keys.verify(secret)
    _, secret = keys.create("laptop", ["read"], utc_now() + timedelta(hours=1))
    keys.verify(secret)


def test_use_is_noted(keys: KeyStore) -> None:
    _, secret = keys.create("laptop", ["read"])
    assert keys.verify(secret).last_used_at is None
    assert keys.verify(secret).last_used_at is not None


def test_an_unknown_scope_or_key_is_named(keys: KeyStore) -> None:
    with pytest.raises(Invalid, match="'reed' is no scope"):
        keys.create("laptop", ["reed"])
    with pytest.raises(NotFound):
        keys.revoke("0123")


def test_the_first_start_makes_an_admin_key_that_only_its_owner_reads(keys: KeyStore, tmp_path: Path) -> None:
    secret = keys.ensure_admin(tmp_path / "data")
    file = tmp_path / "data" / "admin_key"
    assert file.read_text().strip() == secret
    assert file.stat().st_mode & 0o777 == 0o600
    assert keys.verify(secret).allows("cancel")
    assert keys.verify(secret).tenant == ADMIN_TENANT
    assert keys.ensure_admin(tmp_path / "data") == secret
    assert len(keys.keys()) == 1


def test_a_new_database_takes_the_admin_key_over(keys: KeyStore, sqlite_engine: Engine, tmp_path: Path) -> None:
    secret = KeyStore(sqlite_engine).ensure_admin(tmp_path)
    assert keys.ensure_admin(tmp_path) == secret
    assert keys.verify(secret).allows("admin")


@pytest.mark.parametrize("how", ["lost", "revoked", "torn"])
def test_a_useless_admin_file_is_replaced(keys: KeyStore, tmp_path: Path, how: str) -> None:
    old = keys.ensure_admin(tmp_path)
    file = tmp_path / "admin_key"
    if how == "lost":
        file.unlink()
    elif how == "revoked":
        keys.revoke(keys.keys()[0].id)
    else:
        file.write_text(old[:-9])
    new = keys.ensure_admin(tmp_path)
    assert new != old
    assert keys.verify(new).allows("admin")


def test_the_pepper_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    pepper = pepper_of(tmp_path / "data")
    assert len(pepper) == 32
    assert pepper_of(tmp_path / "data") == pepper
    assert (tmp_path / "data" / "pepper").stat().st_mode & 0o777 == 0o600


def test_a_database_without_its_pepper_opens_nothing(engine: Engine) -> None:
    _, secret = KeyStore(engine, b"a" * 32).create("laptop", ["read"])
    KeyStore(engine, b"a" * 32).verify(secret)
    for other in (b"", b"b" * 32):
        with pytest.raises(Unauthorized):
            KeyStore(engine, other).verify(secret)


def test_a_key_of_an_older_version_is_stored_anew_when_it_is_used(engine: Engine) -> None:
    _, secret = KeyStore(engine).create("laptop", ["read"])
    peppered = KeyStore(engine, b"a" * 32)
    peppered.verify(secret)
    with reading(engine) as connection:
        stored = connection.execute(select(api_keys.c.sha256)).scalar_one()
    assert stored == hmac.new(b"a" * 32, secret.encode(), "sha256").hexdigest()
    peppered.verify(secret)


def test_revoking_twice_keeps_the_first_moment(keys: KeyStore) -> None:
    key, _ = keys.create("laptop", ["read"])
    assert keys.revoke(key.id).revoked_at == keys.revoke(key.id).revoked_at


def test_all_that_is_wrong_with_a_new_key_is_said_at_once(keys: KeyStore) -> None:
    with pytest.raises(Invalid) as refused:
        keys.create(" ", ["reed"], tenant="../up")
    assert [mistake.path for mistake in refused.value.mistakes] == ["name", "scopes", "tenant"]
