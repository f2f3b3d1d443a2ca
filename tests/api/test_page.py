"""The page: signed in by its link, a cookie that works here alone, and no script or style from elsewhere."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.api.stage import House, iris

WEB = Path("api/web")
FILES = sorted(file.name for file in WEB.iterdir())


@pytest.fixture
def browser(house: House) -> TestClient:
    """A browser that has opened the link."""
    house.key("page", "read", "submit", "cancel")
    browser = house.client()
    browser.get("/", params={"token": house.secrets["page"]})
    return browser


def test_the_link_signs_in_and_its_token_leaves_the_address(house: House) -> None:
    house.key("page", "read")
    answer = house.client(follow_redirects=False).get("/", params={"token": house.secrets["page"]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("trainyard_8000=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_wrong_link_shows_the_page_without_a_cookie(house: House) -> None:
    answer = house.anonymous.get("/?token=ty_wrong")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "Sign in" in answer.text


def test_the_cookie_reads_and_acts_from_the_page_itself(browser: TestClient) -> None:
    assert browser.get("/v1/jobs").status_code == 200
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://127.0.0.1:8000"}):
        assert browser.post("/v1/jobs", json=iris(), headers=headers).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8000"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_other_pages_cannot_act_with_the_cookie(browser: TestClient, headers: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/v1/jobs"),
        ("DELETE", "/v1/jobs/1"),
        ("POST", "/v1/jobs/1/cancel"),
        ("DELETE", "/session"),
    ):
        assert browser.request(method, path, json=iris(), headers=headers).status_code == 403


def test_a_revoked_key_ends_the_session(house: House, browser: TestClient) -> None:
    house.record.keys.revoke(house.secrets["page.id"])
    assert browser.get("/v1/jobs").status_code == 401


def test_signing_in_and_out_by_hand(house: House) -> None:
    house.key("hand", "read")
    browser, here = house.client(), {"Sec-Fetch-Site": "same-origin"}
    assert browser.post("/session", json={"token": "ty_wrong"}, headers=here).status_code == 401
    assert browser.post("/session", json={"token": house.secrets["hand"]}).status_code == 403
    assert browser.post("/session", json={"token": house.secrets["hand"]}, headers=here).status_code == 204
    assert browser.get("/v1/jobs").status_code == 200
    assert browser.delete("/session", headers=here).status_code == 204
    assert browser.get("/v1/jobs").status_code == 401


def test_the_policy_allows_our_own_files_and_nothing_inline(house: House) -> None:
    answer = house.anonymous.get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|<style", answer.text)


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_page_is_served_and_names_no_other_site(house: House, name: str) -> None:
    assert house.anonymous.get(f"/static/{name}").status_code == 200
    text = (WEB / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//cdn|@import", text)
    assert "innerHTML" not in text
    assert "eval(" not in text


@pytest.mark.parametrize("path", ["/static/../main.py", "/static/%2e%2e/main.py", "/static/..%2fmain.py", "/static/"])
def test_nothing_else_is_served(house: House, path: str) -> None:
    assert house.anonymous.get(path).status_code == 404


def test_every_file_that_the_page_names_exists() -> None:
    text = "".join((WEB / name).read_text() for name in FILES)
    named = set(re.findall(r'(?:/static/|from "\./)([\w.]+)', text))
    assert named <= set(FILES)
