"""A recurrent network reads a sequence in pieces: its answers are those for the whole sequence in one go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from kernels.backend import CpuBackend
from kernels.tensor import TensorSpec
from services.asking import Wishes
from services.errors import Invalid
from services.export.safetensors import pack, unpack
from services.job_spec import NetworkSpec
from services.outline import outline
from services.plan import Plan
from services.predict import Model

STEPS, FEATURES = 12, 2
SOUND = {"type": "spectrogram", "features": "log_mel", "rate": 8000, "samples": 1024, "bins": 8}
LETTERS = {"type": "characters", "alphabet": "abcde", "length": 12}
LAST = {"type": "dense", "units": 3}


def model(folder: Path, *layers: dict[str, Any], **about: Any) -> Model:
    """A model file of a network with weights as they start, opened."""
    shape, dtype = about.pop("input_shape", (STEPS, FEATURES)), about.get("input_dtype", "float32")
    network = {"layers": list(layers)}
    parsed = TypeAdapter(NetworkSpec).validate_python(network)
    plan = Plan(outline(parsed.layers, TensorSpec((1, *shape), dtype)), CpuBackend())
    plan.initialize(7)
    rng = np.random.default_rng(3)
    weights = {name: rng.normal(0, 0.4, value.shape).astype(np.float32) for name, value in plan.weights().items()}
    told = {
        "task": "forecasting", "dataset": "test", "network": network, "input_shape": list(shape), "preprocessing": [],
        "classes": None, "target_names": ["a", "b", "c"], "features": None,
    }  # fmt: skip
    path = folder / "model.safetensors"
    path.write_bytes(pack(weights, told | about))
    return Model(path)


def values(answer: dict[str, Any]) -> Any:
    return [list(row["values"].values()) for row in answer["predictions"]]


CELLS: list[list[dict[str, Any]]] = [
    [{"type": "simple_rnn", "units": 5}],
    [{"type": "lstm", "units": 5}],
    [{"type": "gru", "units": 5}],
    [
        {"type": "dense", "units": 4, "activation": "tanh"},
        {"type": "lstm", "units": 5, "return_sequences": True},
        {"type": "layer_normalization"},
        {"type": "gru", "units": 6},
        {"type": "dropout", "rate": 0.5},
    ],
]


@pytest.mark.parametrize("layers", CELLS, ids=lambda layers: "+".join(layer["type"] for layer in layers))
def test_pieces_answer_like_the_whole_sequence(layers: list[dict[str, Any]], tmp_path: Path) -> None:
    trained = model(tmp_path, *layers, LAST, preprocessing=[{"type": "rescaling", "scale": 0.5, "offset": 0.1}])
    x = np.random.default_rng(5).normal(size=(3, STEPS, FEATURES))
    whole = values(trained.predict(x.tolist()))
    state: Any = "new"
    for begin, end in ((0, 5), (5, 6), (6, STEPS)):
        # As over HTTP: the state is plain JSON, there and back.
        answer = json.loads(json.dumps(trained.predict(x[:, begin:end].tolist(), Wishes(state=state))))
        state = answer["state"]
    assert np.allclose(values(answer), whole, atol=1e-6)


def test_a_sequence_longer_than_the_window_goes_on_as_pytorch_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    trained = model(tmp_path, {"type": "lstm", "units": 5}, {"type": "dense", "units": 5, "use_bias": False})
    arrays, _ = unpack(tmp_path / "model.safetensors")
    peer = torch.nn.LSTM(FEATURES, 5, batch_first=True).double()
    # Ours are i, f, g, o as PyTorch's are.
    with torch.no_grad():
        for name, value in (("weight_ih_l0", arrays["lstm/w"].T), ("weight_hh_l0", arrays["lstm/u"].T)):
            getattr(peer, name).copy_(torch.tensor(np.ascontiguousarray(value)))
        peer.bias_ih_l0.copy_(torch.tensor(arrays["lstm/b"]))
        peer.bias_hh_l0.zero_()
    x = np.random.default_rng(6).normal(size=(1, 5 * STEPS, FEATURES)).astype(np.float32)
    truth = peer(torch.tensor(x, dtype=torch.float64))[0][:, -1].detach().numpy() @ arrays["dense/w"]
    answer = trained.predict(x[:, :40].tolist(), Wishes(state="new"))
    answer = trained.predict(x[:, 40:].tolist(), Wishes(state=answer["state"]))
    assert np.allclose(values(answer), truth[:, :3], atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([{"type": "lstm", "units": 3, "bidirectional": "sum"}], "bidirectional"),
        ([{"type": "gru", "units": 3, "go_backwards": True}], "backwards"),
        ([{"type": "conv1d", "filters": 3, "kernel_size": 3}, {"type": "gru", "units": 3}], "conv1d"),
        ([{"type": "flatten"}], "no recurrent layer"),
    ],
)
def test_a_network_that_cannot_read_in_pieces_says_why(layers: Any, reason: str, tmp_path: Path) -> None:
    trained = model(tmp_path, *layers, LAST)
    assert trained.card()["stateful"] is False
    with pytest.raises(Invalid, match=reason):
        trained.predict([[[1.0, 2.0]]], Wishes(state="new"))


def test_sound_is_no_sequence_of_pieces(tmp_path: Path) -> None:
    trained = model(tmp_path, {"type": "gru", "units": 3}, LAST, input_shape=(7, 8), preprocessing=[SOUND])
    with pytest.raises(Invalid, match="whole rows"):
        trained.predict([[1, 2, 3]], Wishes(state="new"))


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ([], "state"),
        ([{}], "state[0]"),
        ([{"lstm": {"h": [0] * 5}}], "state[0].lstm"),
        ([{"lstm": {"h": [0] * 5, "c": [0] * 4}}], "state[0].lstm.c"),
        ([{"lstm": {"h": [0] * 5, "c": [0, 0, 0, 0, "0"]}}], "state[0].lstm.c"),
        ([{"lstm": {"h": [0, 0, 0, 0, 1e60], "c": [0] * 5}}], "state[0].lstm.h"),
        ([{"lstm": {"h": [0] * 5, "c": [0, 0, 0, 0, True]}}], "state[0].lstm.c"),
        ([{"gru": {"h": [0] * 5}}], "state[0]"),
        ("old", "state"),
    ],
)
def test_a_state_that_is_none_of_this_network_is_named(state: Any, path: str, tmp_path: Path) -> None:
    trained = model(tmp_path, {"type": "lstm", "units": 5}, LAST)
    with pytest.raises(Invalid) as caught:
        trained.predict([[[1.0, 2.0]]], Wishes(state=state))
    assert [mistake.path for mistake in caught.value.mistakes] == [path]


@pytest.mark.parametrize("piece", [[], [[1.0]], [1.0, 2.0], "ab", 7, [[1.0, float("nan")]], None])
def test_a_piece_that_does_not_fit_is_named(piece: Any, tmp_path: Path) -> None:
    trained = model(tmp_path, {"type": "gru", "units": 3}, LAST)
    with pytest.raises(Invalid) as caught:
        trained.predict([[[1.0, 2.0]], piece], Wishes(state="new"))
    assert [mistake.path for mistake in caught.value.mistakes] == ["inputs[1]"]


WRITER = (
    {"type": "embedding", "input_dim": 5, "output_dim": 4},
    {"type": "lstm", "units": 6, "return_sequences": True},
    {"type": "dense", "units": 5, "activation": "softmax"},
)


def writer(folder: Path, *layers: dict[str, Any]) -> Model:
    alphabet = {"task": "language_model", "input_shape": (12,), "input_dtype": "int32", "preprocessing": [LETTERS]}
    return model(folder, *(layers or WRITER), classes=list("abcde"), **alphabet)


def test_a_step_for_each_symbol_writes_what_a_whole_window_each_time_writes(tmp_path: Path) -> None:
    trained = writer(tmp_path)
    stepwise = trained.predict(["abca"], Wishes(length=9))["predictions"][0]["text"]
    # Within the window of twelve, for beyond it a window forgets and a state does not.
    trained._unfit_for_pieces = lambda: "asked to look at whole windows"  # type: ignore[method-assign]
    assert trained.predict(["abca"], Wishes(length=9))["predictions"][0]["text"] == stepwise
    assert len(stepwise) == 9


def test_a_conversation_goes_on_from_all_that_was_read_and_written(tmp_path: Path) -> None:
    trained = writer(tmp_path)
    one = trained.predict(["ab"], Wishes(state="new", length=3))
    two = trained.predict(["cd"], Wishes(state=one["state"], length=1))
    said = one["predictions"][0]["text"]
    again = trained.predict(["ab" + said + "cd"], Wishes(state="new", length=1))
    assert two["predictions"] == again["predictions"]
    assert two["state"][0]["lstm"]["c"] == pytest.approx(again["state"][0]["lstm"]["c"], abs=1e-6)


def test_temperature_zero_takes_the_likeliest_and_seeds_tell_texts_apart(tmp_path: Path) -> None:
    trained = writer(tmp_path)

    def text(**wishes: Any) -> str:
        return str(trained.predict(["abc"], Wishes(length=40, **wishes))["predictions"][0]["text"])

    assert text(temperature=0.0, seed=1) == text(temperature=0.0, seed=2)
    assert text(temperature=1.0, seed=1) == text(temperature=1.0, seed=1) != text(temperature=1.0, seed=2)


def test_a_network_with_attention_writes_by_windows(tmp_path: Path) -> None:
    attention = {"type": "multi_head_attention", "num_heads": 1, "key_dim": 4, "causal": True}
    trained = writer(tmp_path, WRITER[0], attention, WRITER[2])
    assert trained.card()["stateful"] is False
    assert len(trained.predict(["abc"], Wishes(length=15))["predictions"][0]["text"]) == 15
