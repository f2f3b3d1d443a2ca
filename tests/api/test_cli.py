"""The command line: sentences for people, JSON for programs, and an exit code that says what happened."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from starlette.testclient import TestClient

from api import cli, console, session
from api.cli_datasets import name_of
from api.client import Client
from api.schemas import JobOut
from api.session import FAILED, UNREACHABLE, WRONG
from services.jobs import Reason
from services.settings import get_settings
from tests.api.stage import BASE, House, iris
from tests.services.uploads_at_hand import Here, flowers

COMMANDS = ["serve", "worker", "check", "draw", "submit", "jobs", "show", "watch", "logs", "cancel", "stop", "predict"]
COMMANDS += ["retry", "replay", "receipt", "backup", "restore", "move"]
COMMANDS += ["export", "files", "download", "datasets", "keys", "doctor"]
COMMANDS += ["study", "studies"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """`trainyard …` in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("TRAINYARD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(console.out, "_width", 200)
    get_settings.cache_clear()

    def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trainyard", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        said = capsys.readouterr()
        return int(leaving.value.code or 0), said.out, said.err

    yield run
    get_settings.cache_clear()


@pytest.fixture
def served(run: Run, house: House, user: TestClient, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same, with a real application to talk to."""

    @contextmanager
    def connected() -> Iterator[Client]:
        with Client(BASE, house.secrets["user"], transport=user._transport) as client:
            yield client

    monkeypatch.setattr(session, "connected", connected)
    return run


def test_every_command_explains_itself(run: Run) -> None:
    code, text, _ = run("--help")
    assert code == 0
    for command in COMMANDS:
        assert command in text
        assert run(command, "--help")[0] == 0


def test_a_right_spec_is_checked_and_its_plan_shown(served: Run) -> None:
    code, text, _ = served("check", "-", stdin=json.dumps(iris()))
    assert (code, "The spec is right." in text) == (0, True)
    assert "dense" in text
    plan = json.loads(served("check", "-", "--json", stdin=json.dumps(iris()))[1])
    assert plan["outline"]["parameters"] == 4 * 8 + 8 + 8 * 3 + 3


def test_a_spec_is_drawn(served: Run) -> None:
    assert "SVG" in served("draw", "--help")[1]
    code, picture, _ = served("draw", "-", stdin=json.dumps(iris()))
    assert code == 0
    assert ElementTree.fromstring(picture).findtext("{*}title") == "iris-mlp"
    assert "dense_1" in picture


def test_a_wrong_spec_is_refused_with_place_message_and_hint(served: Run) -> None:
    code, _, text = served("submit", "-", stdin=json.dumps(iris(dataset={"name": "irsi"}, nmae="x")))
    assert code == WRONG
    assert text.startswith("2 mistakes")
    assert "dataset.name" in text
    assert "Did you mean 'iris'" in text
    assert "nmae" in text


def test_what_cannot_be_read_is_wrong_input(served: Run, tmp_path: Path) -> None:
    assert served("submit", str(tmp_path / "absent.yaml"))[0] == WRONG
    assert served("predict", "last", "-", stdin="not json")[0] == WRONG
    assert served("predict", "last", "-", stdin='"one"')[0] == WRONG
    assert served("show", "last")[0] == WRONG
    assert served("show", "01a2098f-7a85-7030-8916-20dc2794a3eb")[0] == WRONG


def test_without_a_server_it_says_so_and_how_to_start_one(run: Run) -> None:
    code, _, text = run("jobs")
    assert code == UNREACHABLE
    assert "trainyard serve" in text


def test_a_server_that_does_not_answer_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_API_URL", "http://127.0.0.1:9")
    code, _, text = run("jobs")
    assert code == UNREACHABLE
    assert "127.0.0.1:9" in text


def test_a_submitted_job_is_listed_shown_and_cancelled(served: Run, tmp_path: Path) -> None:
    file = tmp_path / "iris.json"
    file.write_text(json.dumps(iris()))
    id = json.loads(served("submit", str(file), "--json")[1])["id"]
    assert [job["id"] for job in json.loads(served("jobs", "--json")[1])] == [id]
    assert id in served("jobs")[1]
    assert "queued" in served("show", "last")[1]
    assert served("cancel", id)[0] == 0
    assert json.loads(served("show", id, "--json")[1])["state"] == "cancelled"
    assert served("stop", id)[0] == WRONG


def test_watching_a_job_that_succeeds_is_0_and_one_that_does_not_is_1(
    served: Run, house: House, submit: Callable[..., str]
) -> None:
    good = submit()
    house.finish(good)
    bad = submit()
    house.claim(bad).fail(Reason.DIVERGED, "the cost became infinite")
    code, text, _ = served("watch", good)
    assert (code, "succeeded" in text) == (0, True)
    code, text, _ = served("watch", bad)
    assert (code, "the cost became infinite" in text) == (FAILED, True)
    events = [json.loads(line) for line in served("watch", bad, "--json")[1].splitlines()]
    assert events[-1]["data"]["state"] == "failed"


def test_logs_and_models_come_out(served: Run, house: House, submit: Callable[..., str], tmp_path: Path) -> None:
    id = submit()
    lease = house.claim(id)
    lease.record([("log", {"level": "info", "text": "training 67 parameters"})], None)
    lease.fail(Reason.DIVERGED, "no")
    assert "training 67 parameters" in served("logs", id)[1]
    other = submit()
    house.finish(other, model=b"weights")
    target = tmp_path / "model.safetensors"
    assert served("export", other, "--output", str(target))[0] == 0
    assert target.read_bytes() == b"weights"
    assert "model.safetensors" in served("files", other)[1]
    assert served("download", other, "model.safetensors", "-o", str(target.with_name("copy")))[0] == 0
    assert target.with_name("copy").read_bytes() == b"weights"


def test_data_sets_are_listed_and_described(served: Run) -> None:
    names = {card["name"] for card in json.loads(served("datasets", "list", "--json")[1])}
    assert {"digits", "iris", "mnist"} <= names
    assert "Fisher" in served("datasets", "show", "iris")[1]
    assert served("datasets", "show", "irsi")[0] == WRONG


def test_a_data_set_of_ones_own_is_sent_listed_shown_and_removed(served: Run, house: House, tmp_path: Path) -> None:
    house.record.desk.inspector = Here()  # type: ignore[assignment]
    file = tmp_path / "Wild Flowers.csv"
    file.write_bytes(flowers())
    code, text, _ = served("datasets", "add", str(file))
    assert (code, "upload: Wild-Flowers" in text) == (0, True)
    made = json.loads(served("datasets", "add", str(file), "--name", "wild", "--kind", "table", "--json")[1])
    assert (made["kind"], made["names"]) == ("table", ["Wild-Flowers", "wild"])
    assert made["id"] in served("datasets", "list")[1]
    assert "colour" in served("datasets", "show", "wild")[1]
    assert served("datasets", "remove", "wild")[0] == 0
    assert served("datasets", "show", made["id"])[0] == WRONG
    assert served("datasets", "add", str(tmp_path / "absent.csv"))[0] == WRONG
    file.write_bytes(b"\x00\x01")
    code, _, text = served("datasets", "add", str(file))
    assert (code, "1 mistake" in text) == (WRONG, True)


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.csv", "a"), ("My Data.tar.gz", "My-Data"), (".hidden.zip", "hidden"), ("ä.npz", "data"), ("v1.2", "v1")],
)
def test_a_file_gives_its_data_set_a_name(file: str, name: str) -> None:
    assert name_of(Path(file)) == name


def test_keys_are_made_listed_and_revoked_on_the_servers_own_machine(run: Run) -> None:
    made = json.loads(run("keys", "create", "course", "--scopes", "read,submit", "--days", "30", "--json")[1])
    assert made["secret"].startswith(f"ty_{made['id']}_")
    assert made["expires_at"]
    assert json.loads(run("keys", "revoke", made["id"], "--json")[1])["revoked_at"]
    rows = json.loads(run("keys", "list", "--json")[1])
    assert [(row["name"], row["scopes"]) for row in rows] == [("course", "read, submit")]
    assert made["secret"] not in run("keys", "list")[1]


def test_an_unknown_scope_is_wrong_input(run: Run) -> None:
    code, _, text = run("keys", "create", "course", "--scopes", "reed")
    assert code == WRONG
    assert "read" in text


def test_a_senseless_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_PORT", "many")
    code, _, text = run("jobs")
    assert code == WRONG
    assert "TRAINYARD_PORT" in text


def test_doctor_looks_at_the_whole_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text, _ = run("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(text)}
    assert set(findings) == {"python", "broker", "gpu", "cuda", "server", "database", "disk", "data sets"}
    assert findings["broker"]["state"] == "ok"
    monkeypatch.setattr("api.broker.candidates", lambda: iter(()))
    code, text, _ = run("doctor")
    assert (code, "TRAINYARD_REDIS_URL" in text) == (WRONG, True)


def test_a_name_is_printed_as_it_is_even_when_it_looks_like_markup(served: Run) -> None:
    served("submit", "-", stdin=json.dumps(iris(name="[red]x[/]")))
    assert "[red]x[/]" in served("show", "last")[1]
    assert "[red]x[/]" in served("jobs")[1]


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "7 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def test_plain_lines_stand_in_for_the_bar_where_there_is_no_terminal(
    house: House, submit: Callable[..., str], user: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    id = submit()
    lines = console.Lines(console.out)
    found: dict[str, Any] = user.get(f"/v1/jobs/{id}").json()
    job = JobOut.model_validate(found | {"step": 30, "total_steps": 60, "progress": 0.5})
    for _ in range(3):
        lines.show(job, {"loss": 0.25, "accuracy": 0.5, "val_accuracy": 0.75})
    assert capsys.readouterr().out == "iris-mlp   50%  queued  step 30/60  loss 0.2500  val_accuracy 0.7500\n"
