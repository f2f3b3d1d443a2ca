"""What the benchmark compares is the same work: from the same weights, PyTorch and we lose the same, step for step."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contestants import FIRST_STEPS, ours, peer
from benchmarks.scores import RESULTS, digest
from benchmarks.workloads import WORKLOADS
from services.documents import from_yaml


@pytest.mark.peers
@pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed on this machine")
@pytest.mark.parametrize("number", range(len(WORKLOADS)), ids=[work.name for work in WORKLOADS])
def test_whole_networks_train_like_pytorchs(number: int, tmp_path: Path) -> None:
    weights = str(tmp_path / "weights.npz")
    mine = ours(number, 1, weights)(FIRST_STEPS)
    theirs = peer("eager")(number, 1, weights)(FIRST_STEPS)
    np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-5)


def test_the_harness_answers_without_any_peer(tmp_path: Path) -> None:
    run = ours(1, 1, str(tmp_path / "weights.npz"))
    losses = run(40)
    assert len(losses) == 40
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("file", sorted(RESULTS.glob("scores-*.json")), ids=lambda file: file.stem)
def test_kept_scores_are_those_of_the_example_as_it_is(file: Path) -> None:
    kept = json.loads(file.read_text())
    assert kept["spec_sha256"] == digest(from_yaml(Path(kept["example"]).read_bytes()))
