"""Keys over HTTP: made, listed and revoked by administrators alone; the secret is seen once."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.client import Client
from api.key_schemas import KeyOut
from tests.api.stage import BASE, House, iris


@pytest.fixture
def admin(house: House) -> TestClient:
    """A client of an administrator."""
    return house.key("admin", "admin")


@pytest.fixture
def trainyard(house: House, admin: TestClient) -> Iterator[Client]:
    """The administrator's typed client."""
    with Client(BASE, house.secrets["admin"], transport=admin._transport) as client:
        yield client


def shown(trainyard: Client, id: str) -> KeyOut:
    """The key of that id as the list shows it."""
    return {key.id: key for key in list(trainyard.keys())}[id]


def test_a_key_is_made_used_listed_and_revoked_at_once(house: House, trainyard: Client) -> None:
    made = trainyard.create_key("laptop", ["read", "submit"], days=30)
    laptop = house.client(headers={"Authorization": f"Bearer {made.secret}"})
    assert laptop.post("/v1/jobs", json=iris()).status_code == 202
    row = shown(trainyard, made.id)
    assert (row.name, row.scopes, row.revoked_at) == ("laptop", ["read", "submit"], None)
    assert row.last_used_at is not None
    assert row.expires_at is not None
    trainyard.revoke_key(made.id)
    assert laptop.get("/v1/jobs").status_code == 401
    assert shown(trainyard, made.id).revoked_at is not None


def test_the_secret_is_in_one_answer_and_nowhere_else(admin: TestClient) -> None:
    made = admin.post("/v1/keys", json={"name": "once", "scopes": ["read"]})
    assert (made.status_code, made.headers["location"]) == (201, f"/v1/keys/{made.json()['id']}")
    assert made.headers["cache-control"] == "no-store"
    secret = made.json()["secret"].rpartition("_")[2]
    assert secret not in admin.get("/v1/keys").text + admin.get("/v1/audit").text


def test_lists_come_in_pages_oldest_first(admin: TestClient) -> None:
    names = [f"key-{n}" for n in range(5)]
    for name in names:
        admin.post("/v1/keys", json={"name": name, "scopes": ["read"]})
    found, cursor = [], None
    while True:
        page = admin.get("/v1/keys", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [key["name"] for key in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found[-5:] == names


def test_keys_of_one_tenant_share_their_jobs(house: House, admin: TestClient) -> None:
    secrets = [
        admin.post("/v1/keys", json={"name": name, "scopes": ["read", "submit"], "tenant": "course"}).json()["secret"]
        for name in "ab"
    ]
    one, other = (house.client(headers={"Authorization": f"Bearer {secret}"}) for secret in secrets)
    id = one.post("/v1/jobs", json=iris()).json()["id"]
    assert other.get(f"/v1/jobs/{id}").status_code == 200
    assert admin.get(f"/v1/jobs/{id}").status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": "x"},
        {"name": " ", "scopes": ["read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["reed"]},
        {"name": "x", "scopes": ["read"], "days": 0},
        {"name": "x", "scopes": ["read"], "days": 1e300},
        {"name": "x", "scopes": ["read"], "tenant": "../up"},
        {"name": "x", "scopes": ["read"], "secret": "mine"},
        {"name": "x", "scopes": ["read"], "id": "abc"},
    ],
    ids=str,
)
def test_a_wrong_wish_is_explained(admin: TestClient, wrong: dict[str, object]) -> None:
    answer = admin.post("/v1/keys", json=wrong)
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_a_key_cannot_revoke_itself_nor_one_that_is_not_there(house: House, admin: TestClient) -> None:
    assert admin.delete(f"/v1/keys/{house.secrets['admin.id']}").status_code == 409
    assert admin.delete("/v1/keys/0123456789ab").status_code == 404


def test_nobody_else_may_even_look(house: House) -> None:
    user = house.key("user", "read", "submit", "cancel")
    for method, path in (("GET", "keys"), ("POST", "keys"), ("DELETE", "keys/x"), ("GET", "audit")):
        assert user.request(method, f"/v1/{path}").status_code == 403


def test_the_stored_hashes_are_peppered(house: House) -> None:
    import hashlib

    from sqlalchemy import select

    from services.sql.engine import reading
    from services.sql.schema import api_keys

    house.key("salty", "read")
    with reading(house.record.keys.engine) as connection:
        stored = set(connection.execute(select(api_keys.c.sha256)).scalars())
    assert hashlib.sha256(house.secrets["salty"].encode()).hexdigest() not in stored
    pepper = house.record.settings.data_dir / "pepper"
    assert (pepper.stat().st_mode & 0o777, len(bytes.fromhex(pepper.read_text()))) == (0o600, 32)
