"""`trainyard retry` and `replay`: how changes are written, and what a verdict prints."""

from pathlib import Path
from typing import Any

import pytest
import typer

from api import cli_descent
from api.cli_descent import patch_of


def test_changes_are_pairs_with_values_as_yaml_or_files(tmp_path: Path) -> None:
    file = tmp_path / "patch.yaml"
    file.write_text("resources: {priority: high}\n")
    pairs = ["training.epochs=40", "training.optimizer.learning_rate=1.0e-3", "name=new", "training.clipnorm=null"]
    assert patch_of([*pairs, str(file)]) == {
        "training": {"epochs": 40, "optimizer": {"learning_rate": 0.001}, "clipnorm": None},
        "name": "new",
        "resources": {"priority": "high"},
    }
    assert patch_of([]) is None


@pytest.mark.parametrize("changes", [["training=1", "training.epochs=2"], ["no-such-file"]])
def test_what_is_no_change_is_refused(changes: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        patch_of(changes)


@pytest.mark.parametrize("said", [{"verdict": "different", "message": "Different: …", "notes": ["cut off"]}, None])
def test_a_verdict_is_printed_with_its_notes_or_why_there_is_none(
    said: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Job:
        state, reason, message = "cancelled", "cancelled_by_user", None
        result = None if said is None else {"replay": said}

    cli_descent.print_verdict(Job())  # type: ignore[arg-type]
    text = capsys.readouterr().out
    assert text == ("Different: …\ncut off\n" if said else "no verdict: the replay is cancelled (cancelled_by_user).\n")
