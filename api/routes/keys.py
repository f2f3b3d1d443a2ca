"""API keys and the audit log: for administrators of the whole server."""

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Path, Query, Response

from api.bodies import parsed, read_mapping
from api.deps import Admin, Opened
from api.key_schemas import AuditOut, AuditPage, KeyIn, KeyOut, KeyPage, NewKeyOut
from api.openapi import json_body, problems
from services.audit import Outcome
from services.errors import Conflict

router = APIRouter(prefix="/v1", tags=["keys"])

Data: TypeAlias = Annotated[dict[str, Any], Depends(read_mapping)]
Cursor: TypeAlias = Annotated[str | None, Query(max_length=64, pattern=r"^[\x21-\x7e]*$")]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=200)]
KeyId: TypeAlias = Annotated[str, Path(max_length=64, pattern=r"^[^\x00]*$", description="Id of a key.")]
WantedKey: TypeAlias = Annotated[str | None, Query(max_length=64, pattern=r"^[\x21-\x7e]*$")]

NEW_KEY = json_body("KeyIn", {"name": "laptop", "scopes": ["read", "submit", "cancel"], "days": 90})


@router.get("/keys", responses=problems(422))
def list_keys(caller: Admin, record: Opened, cursor: Cursor = None, limit: Limit = 50) -> KeyPage:
    """Every key of this server, oldest first, revoked ones too; never a secret."""
    page = record.keys.find(cursor=cursor, limit=limit)
    return KeyPage(items=[KeyOut.of(key) for key in page.items], next_cursor=page.next_cursor)


@router.post("/keys", status_code=201, openapi_extra=NEW_KEY, responses=problems(413, 415, 422, 507))
def create_key(caller: Admin, data: Data, response: Response, record: Opened) -> NewKeyOut:
    """Make a key. Its secret is in this answer and nowhere else."""
    wanted = parsed(KeyIn, data)
    key, secret = record.keys.create(wanted.name, wanted.scopes, wanted.expires, tenant=wanted.tenant)
    response.headers["Location"] = f"/v1/keys/{key.id}"
    return NewKeyOut.with_secret(key, secret)


@router.delete("/keys/{id}", status_code=204, responses=problems(404, 409, 422, 507))
def revoke_key(id: KeyId, caller: Admin, record: Opened) -> None:
    """Make a key useless at once. It stays in the list, so that what it did can be traced."""
    if id == caller.id:
        raise Conflict("A key cannot revoke itself.", hint="Use another admin key, or `trainyard keys revoke` there.")
    record.keys.revoke(id)


@router.get("/audit", responses=problems(422))
def list_audit(
    caller: Admin,
    record: Opened,
    key: WantedKey = None,
    outcome: Outcome | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AuditPage:
    """Who did what, and who was refused, newest first."""
    page = record.audit.find(key=key, outcome=outcome, cursor=cursor, limit=limit)
    return AuditPage(items=[AuditOut.model_validate(event) for event in page.items], next_cursor=page.next_cursor)
