"""API keys: shown once, stored as SHA-256 under the server's pepper, compared in constant time.

The pepper lies beside the database, not in it: who has only the database can neither use nor test a key.
"""

import base64
import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, final

from sqlalchemy import Engine, RowMapping, func, insert, literal, select, tuple_, update

from services.errors import (
    Invalid,
    Mistake,
    NotFound,
    StorageFull,
    TrainyardError,
    Unauthorized,
    Unavailable,
    did_you_mean,
)
from services.private import alone, read_private, write_private
from services.sql.engine import reading, writing
from services.sql.schema import api_keys
from services.sql.types import Moment, cleaned, utc_now
from services.sql.values import Page

SCOPES: Final = ("read", "submit", "cancel", "admin")
ADMIN_TENANT: Final = "local"
ADMIN_FILE: Final = "admin_key"
PEPPER_FILE: Final = "pepper"
_USE_NOTED_EVERY: Final = timedelta(minutes=1)
_NOBODY: Final = "0" * 64
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_NAME: Final = 100


def pepper_of(data_dir: Path) -> bytes:
    """The server's pepper: 32 random bytes in data_dir/pepper (0600), made at the first start.

    All API processes of one database need the same file; without it every key has to be made anew.
    """
    file = data_dir / PEPPER_FILE
    with alone(file):
        known = read_private(file)
        if known is None:
            known = secrets.token_hex(32)
            write_private(file, known)
        return bytes.fromhex(known)


@final
@dataclass(frozen=True)
class Key:
    """One API key without its secret. `tenant` owns what the key submits; `admin` contains every scope."""

    id: str
    name: str
    tenant: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def allows(self, scope: str) -> bool:
        """Whether the key may do what `scope` stands for."""
        return scope in self.scopes or "admin" in self.scopes


@final
class KeyStore:
    """Create, verify and revoke API keys."""

    def __init__(self, engine: Engine, pepper: bytes = b"") -> None:
        """Work on `engine`; `pepper` goes into every stored hash. Without one, hashes are those of older versions."""
        self.engine, self._pepper = engine, pepper
        self._tried: dict[str, datetime] = {}

    def create(
        self, name: str, scopes: Collection[str], expires: datetime | None = None, *, tenant: str | None = None
    ) -> tuple[Key, str]:
        """A new key and its secret `ty_<id>_<32 random bytes>`, shown only now; no `tenant`: one of its own."""
        _check(name, scopes, tenant)
        id = secrets.token_hex(6)
        secret = f"ty_{id}_{base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b'=').decode()}"
        return self._add(id, secret, name, scopes, expires, tenant or id), secret

    def _add(
        self, id: str, secret: str, name: str, scopes: Collection[str], expires: datetime | None, tenant: str
    ) -> Key:
        row = {
            "id": id, "name": cleaned(name), "tenant": tenant, "sha256": self._sha(secret),
            "scopes": sorted(set(scopes)), "created_at": utc_now(), "expires_at": expires,
        }  # fmt: skip
        with writing(self.engine) as connection:
            return _key_of(connection.execute(insert(api_keys).values(row).returning(api_keys)).mappings().one())

    def verify(self, secret: str) -> Key:
        """The key of a secret, or Unauthorized."""
        id = id_of(secret)
        with reading(self.engine) as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == id)).mappings().one_or_none()
        stored = _NOBODY if row is None else row["sha256"]
        genuine, old = hmac.compare_digest(stored, self._sha(secret)), hmac.compare_digest(stored, _plain_sha(secret))
        if row is None or not (genuine or old):
            raise Unauthorized
        key = _key_of(row)
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= utc_now()):
            raise Unauthorized
        if not genuine:
            self._change(id, sha256=self._sha(secret))
        self._note_use(key)
        return key

    def _sha(self, secret: str) -> str:
        """What is stored of a secret: HMAC-SHA-256 under the pepper."""
        if not self._pepper:
            return _plain_sha(secret)
        return hmac.new(self._pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def _change(self, id: str, **values: object) -> None:
        with writing(self.engine) as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == id).values(values))

    def _note_use(self, key: Key) -> None:
        """Remember the time of use, at most once a minute: reading must not become writing, nor wait for it."""
        now, tried = utc_now(), self._tried.get(key.id)
        due = key.last_used_at is None or now - key.last_used_at > _USE_NOTED_EVERY
        if due and (tried is None or abs(now - tried) > _USE_NOTED_EVERY):
            self._tried[key.id] = now
            with contextlib.suppress(Unavailable, StorageFull):
                self._change(key.id, last_used_at=now)

    def revoke(self, id: str) -> Key:
        """Make a key useless at once; NotFound for an unknown id. A second time changes nothing."""
        when = func.coalesce(api_keys.c.revoked_at, literal(utc_now(), Moment))
        change = update(api_keys).where(api_keys.c.id == cleaned(id)).values(revoked_at=when).returning(api_keys)
        with writing(self.engine) as connection:
            row = connection.execute(change).mappings().one_or_none()
        if row is None:
            raise NotFound("key", id)
        return _key_of(row)

    def keys(self) -> list[Key]:
        """Every key, oldest first, revoked ones too."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).mappings()
            return [_key_of(row) for row in rows]

    def find(self, *, cursor: str | None = None, limit: int = 50) -> Page[Key]:
        """Keys page by page, oldest first; `cursor` is the id of the last one seen."""
        place = (api_keys.c.created_at, api_keys.c.id)
        listing = select(api_keys).order_by(*place).limit(limit + 1)
        if cursor is not None:
            seen = select(*place).where(api_keys.c.id == cleaned(cursor)).scalar_subquery()
            listing = listing.where(tuple_(*place) > seen)
        with reading(self.engine) as connection:
            found = [_key_of(row) for row in connection.execute(listing).mappings()]
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    def ensure_admin(self, data_dir: Path) -> str:
        """The bootstrap admin secret: made at first start, saved to data_dir/admin_key (0600), the same afterwards.

        A secret in the file that a new database does not know is taken over; a lost file means a new secret.
        """
        with alone(data_dir / ADMIN_FILE):
            known = read_private(data_dir / ADMIN_FILE)
            if known is not None and self._admit(known):
                return known
            _, secret = self.create("admin", ["admin"], tenant=ADMIN_TENANT)
            write_private(data_dir / ADMIN_FILE, secret)
            return secret

    def _admit(self, secret: str) -> bool:
        """Whether the secret of the file is valid; a database that never saw its id learns it."""
        id = id_of(secret)
        if id and id not in {key.id for key in self.keys()}:
            self._add(id, secret, "admin", ["admin"], None, ADMIN_TENANT)
        try:
            return self.verify(secret).allows("admin")
        except TrainyardError:
            return False


def _check(name: str, scopes: Collection[str], tenant: str | None) -> None:
    """Invalid with everything that is wrong with a new key."""
    mistakes = []
    if not name.strip() or len(name) > _LONGEST_NAME:
        mistakes.append(Mistake("name", "bad_name", f"a name has 1 to {_LONGEST_NAME} characters"))
    if unknown := sorted(set(scopes) - set(SCOPES)) or ([] if scopes else [""]):
        known = did_you_mean(unknown[0], SCOPES)
        mistakes.append(Mistake("scopes", "unknown_scope", f"{unknown[0]!r} is no scope", known))
    if tenant is not None and _TENANT.fullmatch(tenant) is None:
        mistakes.append(Mistake("tenant", "bad_name", "a tenant's name has 1 to 64 letters, digits or . _ -"))
    if mistakes:
        raise Invalid(mistakes)


def _plain_sha(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(secret: str) -> str:
    """The id inside a secret, or "" when it does not look like one of ours."""
    parts = secret.split("_", 2)
    ours = len(parts) == 3 and parts[0] == "ty" and parts[1].isascii() and parts[1].isalnum()
    return parts[1] if ours else ""


def _key_of(row: RowMapping) -> Key:
    values = {name: value for name, value in row.items() if name != "sha256"}
    return Key(**values | {"scopes": frozenset(row["scopes"])})
