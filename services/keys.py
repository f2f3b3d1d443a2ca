"""API keys: shown once, stored as SHA-256, compared in constant time."""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, final

from sqlalchemy import Engine, RowMapping, insert, select, update

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
from services.sql.engine import reading, writing
from services.sql.schema import api_keys
from services.sql.types import cleaned, utc_now

SCOPES: Final = ("read", "submit", "cancel", "admin")
ADMIN_TENANT: Final = "local"
ADMIN_FILE: Final = "admin_key"
_USE_NOTED_EVERY: Final = timedelta(minutes=1)
_NOBODY: Final = "0" * 64


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

    def __init__(self, engine: Engine) -> None:
        """Work on `engine`."""
        self.engine = engine
        self._tried: dict[str, datetime] = {}

    def create(
        self, name: str, scopes: Collection[str], expires: datetime | None = None, *, tenant: str | None = None
    ) -> tuple[Key, str]:
        """A new key and its secret `ty_<id>_<32 random bytes>`, shown only now; no `tenant`: one of its own."""
        _check_scopes(scopes)
        id = secrets.token_hex(6)
        secret = f"ty_{id}_{base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b'=').decode()}"
        return self._add(id, secret, name, scopes, expires, tenant or id), secret

    def _add(
        self, id: str, secret: str, name: str, scopes: Collection[str], expires: datetime | None, tenant: str
    ) -> Key:
        row = {
            "id": id, "name": cleaned(name), "tenant": tenant, "sha256": _sha(secret), "scopes": sorted(set(scopes)),
            "created_at": utc_now(), "expires_at": expires,
        }  # fmt: skip
        with writing(self.engine) as connection:
            return _key_of(connection.execute(insert(api_keys).values(row).returning(api_keys)).mappings().one())

    def verify(self, secret: str) -> Key:
        """The key of a secret, or Unauthorized."""
        id = _id_of(secret)
        with reading(self.engine) as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == id)).mappings().one_or_none()
        genuine = hmac.compare_digest(_NOBODY if row is None else row["sha256"], _sha(secret))
        if row is None or not genuine:
            raise Unauthorized
        key = _key_of(row)
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= utc_now()):
            raise Unauthorized
        self._note_use(key)
        return key

    def _note_use(self, key: Key) -> None:
        """Remember the time of use, at most once a minute: reading must not become writing, nor wait for it."""
        now, tried = utc_now(), self._tried.get(key.id)
        due = key.last_used_at is None or now - key.last_used_at > _USE_NOTED_EVERY
        if due and (tried is None or abs(now - tried) > _USE_NOTED_EVERY):
            self._tried[key.id] = now
            with contextlib.suppress(Unavailable, StorageFull), writing(self.engine) as connection:
                connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(last_used_at=now))

    def revoke(self, id: str) -> Key:
        """Make a key useless at once; NotFound for an unknown id."""
        change = update(api_keys).where(api_keys.c.id == cleaned(id)).values(revoked_at=utc_now()).returning(api_keys)
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

    def ensure_admin(self, data_dir: Path) -> str:
        """The bootstrap admin secret: made at first start, saved to data_dir/admin_key (0600), the same afterwards.

        A secret in the file that a new database does not know is taken over; a lost file means a new secret.
        """
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(data_dir / f"{ADMIN_FILE}.lock"):
            known = _read_secret(data_dir / ADMIN_FILE)
            if known is not None and self._admit(known):
                return known
            _, secret = self.create("admin", ["admin"], tenant=ADMIN_TENANT)
            _write_private(data_dir / ADMIN_FILE, secret)
            return secret

    def _admit(self, secret: str) -> bool:
        """Whether the secret of the file is valid; a database that never saw its id learns it."""
        id = _id_of(secret)
        if id and id not in {key.id for key in self.keys()}:
            self._add(id, secret, "admin", ["admin"], None, ADMIN_TENANT)
        try:
            return self.verify(secret).allows("admin")
        except TrainyardError:
            return False


def _check_scopes(scopes: Collection[str]) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        name = unknown[0] if unknown else ""
        raise Invalid([Mistake("scopes", "unknown_scope", f"{name!r} is no scope", did_you_mean(name, SCOPES))])


def _sha(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _id_of(secret: str) -> str:
    """The id inside a secret, or "" when it does not look like one of ours."""
    parts = secret.split("_", 2)
    ours = len(parts) == 3 and parts[0] == "ty" and parts[1].isascii() and parts[1].isalnum()
    return parts[1] if ours else ""


def _key_of(row: RowMapping) -> Key:
    values = {name: value for name, value in row.items() if name != "sha256"}
    return Key(**values | {"scopes": frozenset(row["scopes"])})


def _read_secret(file: Path) -> str | None:
    return file.read_text().strip() if file.exists() else None


def _write_private(file: Path, secret: str) -> None:
    """Replace the file in one step; never readable by others, not even for a moment."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secret + "\n")
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keep other processes of this data folder out."""
    with open(os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
