"""What the command line prints of a prediction: one line a sample, whatever kind of model answers."""

from __future__ import annotations

from typing import Any

import pytest

from api.console import print_predictions


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"class": "cat", "top": [{"class": "cat", "probability": 0.75}, {"class": "dog", "probability": 0.25}]},
         "cat 0.7500  dog 0.2500"),
        ({"values": {"price": 2.5}}, "price 2.5"),
        ({"action": 1, "name": "right", "values": {"left": 0.25, "right": 1.5}}, "right  left 0.25  right 1.5"),
        ({"action": 0, "name": "left", "probabilities": {"left": 0.9, "right": 0.1}}, "left  left 0.9  right 0.1"),
        ({"text": "ROMEO: I", "top": [{"class": "a", "probability": 1.0}]}, "ROMEO: I"),
        ({"output": [[1.0], [2.0]]}, "1.0, 2.0"),
    ],
    ids=["class", "value", "action by value", "action by chance", "text", "layer"],
)  # fmt: skip
def test_a_prediction_is_one_line(said: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions({"predictions": [said]})
    assert capsys.readouterr().out.strip() == line
