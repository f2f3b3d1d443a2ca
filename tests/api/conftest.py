"""Fixtures of the API tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.settings import Settings
from tests.api.stage import House, open_house


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a record that nobody else uses."""
    return Settings(_env_file=None, data_dir=tmp_path / "data", max_body_bytes=100_000)


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    """A running application."""
    yield from open_house(settings)


@pytest.fixture
def user(house: House) -> TestClient:
    """A client that may read, submit and cancel."""
    return house.key("user", "read", "submit", "cancel")


@pytest.fixture
def submit(house: House, user: TestClient) -> Callable[..., str]:
    """Queue a job of `user` straight into the record and return its id."""

    def queue(**changes: Any) -> str:
        return house.queue(house.secrets["user.tenant"], **changes)

    return queue
