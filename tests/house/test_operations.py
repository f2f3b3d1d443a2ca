"""docs/operations.md does what it says: its commands run on a small record, in the order of the page."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api import cli, console
from services.artifacts import ArtifactStore
from services.backup import restore
from services.errors import Unauthorized
from services.jobs import JobStore, Reason
from services.keys import KeyStore
from services.lease import Lease
from services.settings import Settings, get_settings
from services.sql.engine import migrate, open_engine

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$(?:\n(?!\$|```)(.+)$)?", PAGE, re.M)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder with an admin key, a queued job and one that left a model."""
    settings = Settings(_env_file=None, data_dir=tmp_path / "data").prepare()
    engine = open_engine(settings.database)
    migrate(engine)
    KeyStore(engine).ensure_admin(settings.data_dir)
    for _ in range(2):
        JobStore(engine).submit("t", {}, {})
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    store = ArtifactStore(settings.artifacts_dir)
    lease.succeed(Reason.COMPLETED, {}, [store.publish("t", lease.job.id, 1, "model", b"weights")])
    engine.dispose()
    return settings


Said = Callable[[str], str]


@pytest.fixture
def say(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Said:
    """Run a line of the page in this process: what it prints; exit code 0."""
    engine = open_engine(settings.database)
    (admin,) = KeyStore(engine).keys()
    engine.dispose()
    places = {
        "BACKUP": str(tmp_path / "BACKUP"), "NEW": str(tmp_path / "NEW"), "KEY_ID": admin.id,
        "POSTGRESQL_URL": f"sqlite:///{tmp_path}/moved.db",
    }  # fmt: skip
    monkeypatch.setattr(console.out, "_width", 200)

    def run(line: str) -> str:
        words = [re.sub(r"\b(BACKUP|NEW|KEY_ID|POSTGRESQL_URL)$", lambda m: places[m[0]], w) for w in shlex.split(line)]
        given = dict(word.split("=", 1) for word in words if word.startswith("TRAINYARD_"))
        for name, value in {"TRAINYARD_DATA_DIR": str(settings.data_dir), **given}.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", words[len(given) :])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        text = capsys.readouterr()
        assert not leaving.value.code, text.err
        return text.out.replace(f"{tmp_path}/", "")

    return run


def shape(text: str) -> str:
    """A line without its numbers."""
    return re.sub(r"[\d,]*\d", "0", text.strip())


def test_every_command_of_the_page_says_what_the_page_says(say: Said, settings: Settings, tmp_path: Path) -> None:
    secret = (settings.data_dir / "admin_key").read_text().strip()
    for line, expected in COMMANDS:
        if line == "trainyard doctor":
            continue
        said = say(line)
        assert not expected or shape(expected) in shape(said), line
    assert (tmp_path / "NEW" / "trainyard.db").is_file()
    engine = open_engine(settings.database)
    with pytest.raises(Unauthorized):
        KeyStore(engine).verify(secret)
    fresh = KeyStore(engine).ensure_admin(settings.data_dir)
    assert fresh != secret
    assert KeyStore(engine).verify((settings.data_dir / "admin_key").read_text().strip()).allows("admin")
    engine.dispose()


def test_the_page_has_the_commands_that_a_test_must_run() -> None:
    verbs = {re.sub(r"^(TRAINYARD_\w+=\S+ )*trainyard ", "", line).split()[0] for line, _ in COMMANDS}
    assert verbs == {"doctor", "backup", "restore", "move", "keys"}


def test_every_command_that_the_page_names_exists() -> None:
    import typer

    known = set(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"trainyard ([a-z]+)", PAGE)) <= known


def test_every_setting_that_the_page_names_exists() -> None:
    named = set(re.findall(r"TRAINYARD_(\w+)", PAGE))
    assert named <= {name.upper() for name in Settings.model_fields}


def test_a_restored_record_is_the_one_that_was_backed_up(say: Said, settings: Settings, tmp_path: Path) -> None:
    say("trainyard backup BACKUP")
    there = Settings(_env_file=None, data_dir=tmp_path / "there")
    restore(there, tmp_path / "BACKUP")
    engines = [open_engine(some.database) for some in (settings, there)]
    pages = [JobStore(engine).find("t") for engine in engines]
    assert pages[0] == pages[1]
    for engine in engines:
        engine.dispose()
