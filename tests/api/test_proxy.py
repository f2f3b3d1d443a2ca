"""Behind a proxy, and without one: whose word counts, and what may be listened on."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.bind import check_bind
from api.main import create_app
from api.proxy import address_in
from api.serve import running
from services.errors import Forbidden
from services.settings import Settings
from tests.api.stage import House

TOLD = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_may_always_be_listened_on(host: str) -> None:
    check_bind(Settings(_env_file=None, host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "lab.example.org", "localhost.example.org"])
def test_an_address_that_others_reach_needs_a_proxy(host: str) -> None:
    with pytest.raises(Forbidden, match="unencrypted") as refused:
        check_bind(Settings(_env_file=None, host=host))
    assert "TRAINYARD_BEHIND_PROXY" in str(refused.value.hint)
    check_bind(Settings(_env_file=None, host=host, behind_proxy=True))


def test_serve_refuses_before_anything_has_started(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, host="0.0.0.0", data_dir=tmp_path / "data")
    with pytest.raises(Forbidden), running(settings, "cpu"):
        pass
    assert not list((tmp_path / "data").iterdir())


def last_address(house: House) -> str:
    """From where the newest audit event came."""
    return house.record.audit.find(limit=1).items[0].address


def test_without_the_setting_forwarded_headers_are_not_believed(house: House) -> None:
    house.client(address="10.0.0.9").get("/v1/jobs", headers=TOLD)
    assert last_address(house) == "10.0.0.9"
    assert house.client(address="10.0.0.9").get("/docs", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401


def test_behind_a_proxy_its_own_word_counts_and_not_the_clients(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"behind_proxy": True}), ring=lambda _: None)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        record = app.state.record
        assert client.get("/v1/jobs", headers=TOLD).status_code == 401
        assert record.audit.find(limit=1).items[0].address == "203.0.113.9"
        _, secret = record.keys.create("k", ["read"])
        signed = client.get("/", params={"token": secret}, headers=TOLD, follow_redirects=False)
        assert "Secure" in signed.headers["set-cookie"]
        assert client.get("/docs").status_code == 401, "nobody is known to be on this machine"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", "1.2.3.4"), ("1.2.3.4:5", "1.2.3.4"), ("::1", "::1"), ("[::1]:5", "::1"), ("", None),
        ("unknown", None), ("1.2.3.4.5", None), ("[x", None), ("1.2.3.4\n", None),
    ],
)  # fmt: skip
def test_an_address_is_read_or_left(text: str, address: str | None) -> None:
    assert address_in(text) == address
