"""Settings: twelve-factor, typed, frozen, each described."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` and no TRAINYARD_ variable of the machine reaches these tests."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TRAINYARD_{name.upper()}", raising=False)


def test_without_any_setting_everything_lies_in_one_private_folder(tmp_path: Path) -> None:
    settings = Settings().prepare()
    assert settings.data_dir == tmp_path / ".trainyard"
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700
    assert settings.database == f"sqlite:///{tmp_path}/.trainyard/trainyard.db"
    assert settings.artifacts_dir == tmp_path / ".trainyard" / "artifacts"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("TRAINYARD_PORT=9000\nTRAINYARD_THREADS=3\nOTHER=1\n")
    monkeypatch.setenv("TRAINYARD_PORT", "9001")
    settings = Settings()
    assert (settings.port, settings.threads) == (9001, 3)


def test_urls_replace_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_DATABASE_URL", "postgresql://db/trainyard")
    monkeypatch.setenv("TRAINYARD_ARTIFACTS_URL", "file:///srv/artifacts")
    monkeypatch.setenv("TRAINYARD_DATASETS_DIR", "~/sets")
    settings = Settings()
    assert settings.database == "postgresql://db/trainyard"
    assert settings.artifacts_dir == Path("/srv/artifacts")
    assert settings.datasets_dir == Path.home() / "sets"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("HEARTBEAT_SECONDS", "0"), ("LOG_LEVEL", "loud"), ("ARTIFACTS_URL", "s3://x")],
)
def test_a_senseless_value_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TRAINYARD_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_settings_are_frozen_and_read_once() -> None:
    get_settings.cache_clear()
    with pytest.raises(ValidationError):
        get_settings().port = 1  # type: ignore[misc]
    assert get_settings() is get_settings()
    get_settings.cache_clear()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
