"""The demonstration: shows a network learn through the whole stack, and can be left at any moment."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from api import demo, tour
from api.child import wait_until
from api.serve import Stack
from services.settings import Settings
from tests.api.test_serve import STARTED, STOPPED, linux, processes

ROOT = Path(__file__).parents[2]


@pytest.mark.acceptance
def test_on_a_running_stack_it_trains_scores_predicts_and_leaves_the_stack_alone(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = next(child.log.parents[1] for child in stack.children)
    code = demo.demonstrate(ROOT / "examples" / "iris_mlp.yaml", Settings(_env_file=None, data_dir=folder))
    text = capsys.readouterr().out
    assert code == 0
    assert f"Using the Trainyard that runs at {stack.address.url}" in text
    assert float(re.findall(r"([\d.]+)  this network", text)[0]) >= 0.9
    assert re.search(r"[\d.]+  (logistic regression|k-nearest|random forest)", text)
    assert re.search(r"is setosa, read as \w+", text)
    model = re.findall(r"The model: (.*)", text)[0]
    assert Path(model).name == "model.safetensors"
    assert Path(model).exists()
    assert all(child.exit_code is None for child in stack.children)


@linux
def test_control_c_stops_everything_with_130(tmp_path: Path) -> None:
    env = {**os.environ, "TRAINYARD_DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "api.demo"]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert wait_until(lambda: len(processes(tmp_path)) >= 4 or running.poll() is not None, STARTED)
        running.send_signal(signal.SIGINT)
        text, trouble = running.communicate(timeout=STOPPED)
    assert (running.returncode, trouble) == (130, "")
    assert text.rstrip().endswith("Everything that was started is stopped.")
    assert wait_until(lambda: not processes(tmp_path), 5.0)


def test_a_file_that_is_not_there_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        demo.main(["absent.yaml"])
    assert leaving.value.code == 2
    assert "absent.yaml" in capsys.readouterr().err


def test_an_image_is_drawn_darkest_where_its_values_are_largest() -> None:
    image = np.array([[[0.0], [4.0]], [[8.0], [16.0]]])
    assert tour.picture(image) == ["  ░░", "▒▒██"]


def test_a_black_image_is_drawn_empty() -> None:
    assert tour.picture(np.zeros((1, 2, 1))) == ["    "]


@pytest.mark.parametrize(
    ("prediction", "words"),
    [({"class": "setosa", "probability": 0.9}, "setosa"), ({"values": {"progression": 151.2}}, "151.2")],
)
def test_a_prediction_is_said_in_few_words(prediction: dict[str, object], words: str) -> None:
    assert words in tour.said(prediction)
