"""The short gate: real processes are killed and frozen, nothing is lost; without the fence, the same rules complain."""

import random
from pathlib import Path

import pytest

from tests.chaos.faults import Saboteur
from tests.chaos.invariants import Evidence, fence_holds
from tests.chaos.registry import Trial
from tests.chaos.scenarios.kills import campaign
from tests.chaos.yard import open_yard

SEED = 20_261_124
KINDS = ("digits", "agent")


def quiet(done: int, total: int, note: str) -> None:
    """Nobody watches."""


@pytest.mark.timeout(600)
def test_killed_and_frozen_processes_lose_nothing_and_results_are_bit_equal(tmp_path: Path) -> None:
    trial = Trial(SEED, "sqlite", {"kills": 16, "freezes": 2}, tmp_path, quiet)
    findings = campaign(trial, KINDS, workers=2, live=4)
    assert findings.violations == {}
    assert findings.figures["kills"] == 16
    assert findings.figures["stale writers refused"] > 0


@pytest.mark.timeout(300)
def test_without_the_fence_a_stale_writer_is_found_out(tmp_path: Path) -> None:
    with open_yard(tmp_path, workers=1, program="tests.chaos.unfenced") as yard:
        id = yard.submit("iris")
        assert Saboteur(yard, random.Random(SEED)).zombie()
        yard.wait([id], seconds=60)
        assert list(fence_holds(Evidence.of(yard, {}))), "nothing was written by a stale attempt: the rules are blind"
