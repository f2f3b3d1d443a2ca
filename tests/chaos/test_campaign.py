"""The command line of the campaigns: what it lists, what it runs, what a failure prints."""

from pathlib import Path

import pytest

from tests.chaos import campaign, registry
from tests.chaos.faults import quantile
from tests.chaos.registry import Findings, Trial, every_scenario, scenario


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Trial]:
    """A scenario that hurts nobody; one blow is one violation, no blow is none."""
    monkeypatch.setattr(registry, "SCENARIOS", {})
    monkeypatch.setattr(campaign.tempfile, "tempdir", str(tmp_path))
    seen: list[Trial] = []

    @scenario("toy", "hurts nobody", counts={"gentle_blows": 0}, databases=("sqlite",))
    def run(trial: Trial) -> Findings:
        seen.append(trial)
        (trial.folder / "evidence").touch()
        trial.say(1, 1, "done")
        blows = trial.counts["gentle_blows"]
        return Findings({"the rule": ["somebody cried"] * blows} if blows else {}, {"blows": blows})

    monkeypatch.setattr(campaign, "every_scenario", lambda: dict(registry.SCENARIOS))
    return seen


def test_every_scenario_has_a_line_and_its_counts_are_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(every_scenario())
    assert "--kills 1000 --freezes 100" in next(line for line in lines if line.split()[0] == "kills")


def test_a_run_in_which_all_held_leaves_no_folder(toy: list[Trial], capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign.main(["toy", "--seed", "7"]) == 0
    assert toy[0].seed == 7
    assert not toy[0].folder.exists()
    assert "violations" in capsys.readouterr().out


def test_a_violation_says_how_to_repeat_it_and_keeps_the_folder(
    toy: list[Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    assert campaign.main(["toy", "--seed", "7", "--gentle-blows", "3"]) == 1
    said = capsys.readouterr().out
    assert "VIOLATED the rule: 3 times" in said
    assert "run.py chaos toy --seed 7 --database sqlite --gentle-blows 3" in said
    assert (toy[0].folder / "evidence").exists()


def test_a_scenario_runs_only_on_its_databases(toy: list[Trial]) -> None:
    assert campaign.main(["all", "--database", "both"]) == 0
    assert [trial.database for trial in toy] == ["sqlite"]


def test_an_unknown_scenario_gets_the_known_ones(toy: list[Trial], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        campaign.main(["toi"])
    assert "there are toy" in capsys.readouterr().err


def test_the_same_seed_throws_the_same_dice(tmp_path: Path) -> None:
    one, two = (Trial(5, "sqlite", {}, tmp_path, print) for _ in range(2))
    assert [one.dice.random() for _ in range(3)] == [two.dice.random() for _ in range(3)]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_a_quantile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert quantile([4.0, 2.0, 1.0, 3.0], share) == value
