"""Keys and audit events as administrators see them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, final

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Shape, Time
from services.keys import Key

LONGEST_DAYS = 36_500.0


@final
class KeyIn(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00]*\S[^\x00]*$", examples=["laptop"])
    scopes: Annotated[list[Literal["read", "submit", "cancel", "admin"]], Field(min_length=1, max_length=4)]
    days: float | None = Field(None, gt=0, le=LONGEST_DAYS, description="Valid for so many days; else until revoked.")
    tenant: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Whose jobs and data it shares; a new owner of its own where nothing is said.",
    )

    @property
    def expires(self) -> datetime | None:
        """When it ends."""
        return None if self.days is None else datetime.now(UTC) + timedelta(days=self.days)


class KeyOut(Shape):
    """An API key without its secret; times are null where it never happened."""

    id: str
    name: str
    tenant: str
    scopes: list[str]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None

    @classmethod
    def values_of(cls, key: Key) -> dict[str, object]:
        """What is shown of a key."""
        return {name: getattr(key, name) for name in KeyOut.model_fields} | {"scopes": sorted(key.scopes)}

    @classmethod
    def of(cls, key: Key) -> "KeyOut":
        """From the record's key."""
        return cls.model_validate(cls.values_of(key))


@final
class NewKeyOut(KeyOut):
    """A new key with its secret, which is shown only here."""

    secret: str = Field(examples=["ty_…"])

    @classmethod
    def with_secret(cls, key: Key, secret: str) -> "NewKeyOut":
        """From a key that was just made."""
        return cls.model_validate(cls.values_of(key) | {"secret": secret})


@final
class KeyPage(BaseModel):
    """One page of keys, oldest first; ask again with `cursor=next_cursor`."""

    items: list[KeyOut]
    next_cursor: str | None


@final
class AuditOut(Shape):
    """One audit event: who (`key`, `tenant`, `address`) did what (`action`) to what (`object`), and how it ended.

    `skipped`: like events before this one that were not noted, because they came too thick.
    """

    number: int
    at: Time
    key: str | None
    tenant: str | None
    action: str = Field(examples=["submit_job", "use_key"])
    object: str | None
    outcome: Literal["done", "failed", "refused"]
    status: int
    request_id: str
    address: str
    skipped: int


@final
class AuditPage(BaseModel):
    """One page of audit events, newest first; ask again with `cursor=next_cursor`."""

    items: list[AuditOut]
    next_cursor: str | None
