"""Wrong keys are answered ever more seldom, right ones always; nothing of that needs a broker."""

from itertools import count

import pytest
from starlette.testclient import TestClient

from api.buckets import MOST_BUCKETS, Buckets, network_of
from api.logins import FAILURES, REFILL_SECONDS
from tests.api.stage import House


def wrong(house: House, id: str, address: str = "10.1.2.3") -> TestClient:
    """A client with a wrong secret for a key's id."""
    return house.client(address=address, headers={"Authorization": f"Bearer ty_{id}_{'x' * 43}"})


def test_after_so_many_wrong_keys_an_address_is_told_to_wait(house: House) -> None:
    answers = [wrong(house, f"{n:012x}").get("/v1/jobs") for n in range(FAILURES + 1)]
    assert [answer.status_code for answer in answers] == [401] * FAILURES + [429]
    late = answers[-1]
    assert late.json()["code"] == "too_many_attempts"
    assert 0 < int(late.headers["Retry-After"]) <= REFILL_SECONDS
    assert wrong(house, "0" * 12, "10.9.9.9").get("/v1/jobs").status_code == 401


def test_wrong_secrets_for_one_key_are_counted_wherever_they_come_from(house: House) -> None:
    house.key("target", "read")
    id = house.secrets["target.id"]
    codes = [wrong(house, id, f"10.0.{n}.1").get("/v1/jobs").status_code for n in range(FAILURES + 1)]
    assert codes == [401] * FAILURES + [429]


def test_nobodys_failures_lock_a_right_key_out(house: House) -> None:
    right = house.key("victim", "read", address="10.1.2.3")
    for _ in range(FAILURES * 2):
        wrong(house, house.secrets["victim.id"]).get("/v1/jobs")
    assert wrong(house, house.secrets["victim.id"]).get("/v1/jobs").status_code == 429
    assert right.get("/v1/jobs").status_code == 200


def test_the_page_and_its_form_count_too(house: House) -> None:
    client = house.client(address="10.1.1.1")
    for _ in range(FAILURES // 2):
        assert client.get("/", params={"token": "ty_wrong"}).status_code == 401
        here = {"Sec-Fetch-Site": "same-origin"}
        assert client.post("/session", json={"token": "nonsense"}, headers=here).status_code == 401
    assert client.get("/", params={"token": "ty_wrong"}).status_code == 429
    assert client.get("/").status_code == 200


def test_a_try_comes_back_with_time() -> None:
    now = count(0.0, 1.0)
    buckets = Buckets(2, 4.0, lambda: next(now))
    waits = [buckets.take("a") for _ in range(8)]
    assert [wait == 0 for wait in waits] == [True, True, False, False, True, False, False, False]
    assert waits[2] == pytest.approx(2.0)


def test_memory_is_bounded_whatever_strangers_call_themselves() -> None:
    buckets = Buckets(1, 1.0, lambda: 0.0)
    for number in range(MOST_BUCKETS + 100):
        buckets.take(str(number))
    assert len(buckets._buckets) == MOST_BUCKETS
    assert buckets.take("0") == 0.0
    assert buckets.take(str(MOST_BUCKETS + 99)) > 0


@pytest.mark.parametrize(
    ("address", "network"),
    [("10.1.2.3", "10.1.2.3"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ff:2", "2001:db8::/64"), ("?", "?")],
)
def test_an_owner_of_many_addresses_is_one_client(address: str, network: str) -> None:
    assert network_of(address) == network
