"""Auto-encoders: what the noise is, how well a network gives back what it was to see, and what it leaves behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.backend import CpuBackend
from kernels.simulator import SimulatedBackend
from services import autoencoder_results, datasets, latent, training_job
from services.asking import Wishes
from services.autoencoder_results import Trained
from services.classical_reconstruction import Seen, reconstruction_baseline
from services.datasets import Card, Dataset, Part, Pipeline
from services.datasets.sound import inverse_stft, stft
from services.datasets.wav import make_wav, parse_wav
from services.errors import Invalid
from services.export.safetensors import unpack
from services.noise import Gaussian, Place, White
from services.plan import Feed
from services.predict import Model
from services.reconstruction import quality
from services.spec import parse_job
from services.tallies import decibels
from services.train import Rows

DIGITS: dict[str, Any] = {
    "task": "autoencoder",
    "dataset": {
        "name": "digits",
        "preprocessing": [{"type": "rescaling", "scale": 0.0625}],
        "noise": {"type": "gaussian", "stddev": 0.5},
    },
    "network": {
        "layers": [
            {"type": "flatten"},
            {"type": "dense", "units": 24, "activation": "relu"},
            {"type": "dense", "units": 10, "name": "code"},
            {"type": "dense", "units": 24, "activation": "relu"},
            {"type": "dense", "units": 64, "activation": "sigmoid"},
        ]
    },
    "training": {
        "loss": "mean_squared_error",
        "optimizer": {"type": "adam", "learning_rate": 0.01},
        "epochs": 8,
        "early_stopping": {"patience": 50},
    },
}


def run(spec: dict[str, Any], folder: Path, resume: Path | None = None) -> list[dict[str, Any]]:
    told = training_job.run(parse_job(spec).resolved(), folder, resume, "cpu", 1, Path("unused"), lambda: False)
    return list(told)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The end of a denoising job on digits."""
    return run(DIGITS, tmp_path_factory.mktemp("digits"))[-1]


def file_of(done: dict[str, Any], name: str) -> Path:
    return next(Path(file["path"]) for file in done["artifacts"] if file["name"] == name)


def test_a_denoising_job_tells_its_gain_over_the_noisy_input_and_a_filter(done: dict[str, Any]) -> None:
    found, baseline = done["result"]["reconstruction"], done["result"]["baseline"]
    # Pixels lie in 0 … 1, so noise of σ = ½ has a PSNR of 10·log10(1 / ¼).
    assert found["input"] == pytest.approx(10 * math.log10(4), abs=0.1)
    assert found["gain"] == found["output"] - found["input"] > 5
    assert baseline["trivial"] == {
        "name": "noisy input", "guess": None, "score": found["input"],
        "scores": {"peak_signal_to_noise_ratio": found["input"]},
    }  # fmt: skip
    assert found["input"] < baseline["best"]["score"] < found["output"]
    assert "filter" in baseline["best"]["name"]
    assert {one["name"] for one in baseline["tried"]} >= {"median filter, 3 × 3", "Gaussian filter, σ = 1"}


def test_the_test_score_is_that_of_noisy_inputs_against_clean_targets(done: dict[str, Any]) -> None:
    mse = done["result"]["test"]["mean_squared_error"]
    assert done["result"]["reconstruction"]["output"] == pytest.approx(10 * math.log10(1 / mse), abs=1e-4)


def test_latent_vectors_are_what_the_model_gives_for_the_noisy_test_rows(done: dict[str, Any]) -> None:
    arrays, about = unpack(file_of(done, "latent.safetensors"))
    test = datasets.load("digits", preprocessing=DIGITS["dataset"]["preprocessing"]).test
    assert (about["layer"], about["rows"], about["classes"]) == ("code", len(test), [str(k) for k in range(10)])
    assert (arrays["target"] == test.y).all()
    assert arrays["latent"].shape == (len(test), 10)
    assert done["result"]["latent"] == {
        "file": "latent.safetensors", "layer": "code", "shape": [10], "numbers": 10, "share_of_input": 10 / 64,
        "rows": len(test), "cut": False,
    }  # fmt: skip
    # Clean rows have other codes than noisy ones, but on the whole the same.
    raw = datasets.load("digits").test.x[:50]
    clean = Model(file_of(done, "model.safetensors")).predict(raw.tolist(), Wishes(layer="code"))["predictions"]
    codes = np.array([row["output"] for row in clean])
    noisy = arrays["latent"][:50]
    assert 0.6 < np.corrcoef(codes.ravel(), noisy.ravel())[0, 1] < 0.9999


def test_an_inner_layer_is_asked_for_by_name_or_number_and_gives_what_its_activation_gives(
    done: dict[str, Any],
) -> None:
    model = Model(file_of(done, "model.safetensors"))
    arrays, _ = unpack(file_of(done, "model.safetensors"))
    row = datasets.load("digits").test.x[0]
    expected = np.maximum(row.ravel() / 16 @ arrays["dense/w"] + arrays["dense/b"], 0)
    for layer in ("dense", 1, -4):
        answer = model.predict([row.tolist()], Wishes(layer=layer))
        assert answer["layer"] == "dense"
        assert answer["predictions"][0]["output"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert model.card()["outputs"] == {"flatten": [64], "dense": [24], "code": [10], "dense_2": [24], "dense_3": [64]}


@pytest.mark.parametrize("layer", ["cod", 5, -6])
def test_a_layer_that_is_not_there_is_refused_with_those_that_are(done: dict[str, Any], layer: str | int) -> None:
    with pytest.raises(Invalid) as caught:
        Model(file_of(done, "model.safetensors")).predict([[0.0] * 64], Wishes(layer=layer))
    (mistake,) = caught.value.mistakes
    assert mistake.path == "layer"
    assert "code" in str(mistake.hint) or "0 to 4" in str(mistake.hint)


def test_latent_vectors_are_cut_to_what_one_file_may_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "MOST_BYTES", 4 * 10 * 7)
    done = run(DIGITS | {"training": DIGITS["training"] | {"epochs": 1}, "baseline": False}, tmp_path)[-1]
    assert (done["result"]["latent"]["rows"], done["result"]["latent"]["cut"]) == (7, True)
    assert unpack(file_of(done, "latent.safetensors"))[0]["target"].shape == (7,)


def test_a_layer_called_latent_is_the_bottleneck_whatever_its_size(tmp_path: Path) -> None:
    layers = [*DIGITS["network"]["layers"]]
    layers[1] = {**layers[1], "name": "latent"}
    spec = DIGITS | {"network": {"layers": layers}, "training": DIGITS["training"] | {"epochs": 1}, "baseline": False}
    assert run(spec, tmp_path)[-1]["result"]["latent"]["shape"] == [24]


def test_without_noise_pca_of_the_same_width_is_the_measure(tmp_path: Path) -> None:
    dataset = {key: value for key, value in DIGITS["dataset"].items() if key != "noise"}
    result = run(DIGITS | {"dataset": dataset}, tmp_path)[-1]["result"]
    assert set(result["reconstruction"]) == {"measure", "unit", "output"}
    assert result["baseline"]["best"]["name"] == "PCA with 10 components"
    found = datasets.load("digits", preprocessing=dataset["preprocessing"])
    train, test = (part.x.reshape(len(part), -1).astype(np.float64) for part in (found.train, found.test))
    _, _, axes = np.linalg.svd(train - train.mean(0), full_matrices=False)
    lost = (test - train.mean(0)) - (test - train.mean(0)) @ axes[:10].T @ axes[:10]
    assert result["baseline"]["best"]["score"] == pytest.approx(-10 * math.log10(np.square(lost).mean()), abs=0.01)


def test_a_resumed_job_sees_the_same_noise_to_the_last_bit(tmp_path: Path) -> None:
    spec = DIGITS | {"baseline": False}
    whole = run(spec, tmp_path / "whole")[-1]["result"]

    class Checkpointing:
        checkpoint_wanted = staticmethod(lambda: True)

        def __call__(self) -> bool:
            return False

    resolved = parse_job(spec).resolved()
    told = training_job.run(resolved, tmp_path / "first", None, "cpu", 1, Path("unused"), Checkpointing())
    written = [message for message in told if message["type"] == "checkpoint"]
    middle = Path(written[len(written) // 2]["path"])
    resumed = run(spec, tmp_path / "second", middle)[-1]["result"]
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["metrics"] == whole["metrics"]


def placed(noise: Any, clean: np.ndarray[Any, Any], backend: Any = None, **more: Any) -> tuple[Any, Place]:
    backend = backend or CpuBackend()
    order = np.arange(len(clean), dtype=np.int32)
    feed = Feed(len(clean), backend.array(clean), backend.array(clean), backend.array(order))
    place = Place(backend, feed, clean.copy(), **({"part": "train", "seed": 5} | more))
    return noise.over(place), place


def test_gaussian_noise_is_fresh_in_every_epoch_and_the_same_whenever_that_epoch_comes_again() -> None:
    clean = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    renew, place = placed(Gaussian(0.3), clean)

    def noise(epoch: int) -> Any:
        renew(epoch)
        return place.backend.get(place.feed.x) - clean

    zero, one = noise(0), noise(1)
    assert (noise(0) == zero).all()
    assert abs(np.corrcoef(zero.ravel(), one.ravel())[0, 1]) < 0.05
    assert (zero.mean(), zero.std()) == pytest.approx((0, 0.3), abs=0.01)
    again, elsewhere = placed(Gaussian(0.3), clean, part="test")
    again(0)
    assert abs(np.corrcoef(zero.ravel(), (elsewhere.backend.get(elsewhere.feed.x) - clean).ravel())[0, 1]) < 0.05


def test_a_gpu_makes_the_same_noise() -> None:
    clean = np.zeros((3, 7), np.float32)
    made = []
    for backend in (CpuBackend(), SimulatedBackend()):
        renew, place = placed(Gaussian(1.0), clean, backend)
        renew(2)
        made.append(backend.get(place.feed.x))
    assert np.allclose(made[0], made[1], atol=1e-6)


def voices(n: int = 6, samples: int = 800) -> Any:
    """Tones of different loudness and length, silence behind them."""
    rows = np.zeros((n, samples, 1), np.float32)
    for k in range(n):
        long = samples - 100 * k
        rows[k, :long, 0] = (0.1 + 0.1 * k) * np.sin((0.1 + 0.07 * k) * np.arange(1, long + 1))
    return rows


@pytest.mark.parametrize("snr_db", [0.0, 10.0, -5.0])
@pytest.mark.parametrize("equal_loudness", [True, False])
def test_white_noise_is_as_loud_as_it_says_over_every_recording(snr_db: float, equal_loudness: bool) -> None:
    clean = voices()
    renew, place = placed(White(snr_db), clean, equal_loudness=equal_loudness)
    renew(0)
    noisy, targets = place.backend.get(place.feed.x), place.targets
    for k, (row, voice) in enumerate(zip(noisy, targets, strict=True)):
        n = 800 - 100 * k
        ratio = decibels(float(np.square(voice[:n]).sum()), float(np.square(row[:n] - voice[:n]).sum()))
        assert ratio == pytest.approx(snr_db, abs=1.0)
        assert np.abs(row[n:]).min(initial=1) >= 0 == np.abs(voice[n:]).max(initial=0)
    assert (place.backend.get(place.feed.t) == targets).all()
    if equal_loudness:
        assert np.abs(noisy).max(axis=(1, 2)) == pytest.approx(np.ones(len(clean)), abs=1e-6)
    else:
        assert (targets == clean).all()


def test_noise_that_does_not_fit_is_refused_with_the_way_out() -> None:
    spec = DIGITS | {"dataset": DIGITS["dataset"] | {"noise": {"type": "white", "snr_db": 0}}}
    with pytest.raises(Invalid, match="samples of sound"):
        parse_job(spec)
    with pytest.raises(Invalid, match="noise is for auto-encoders"):
        parse_job({
            **DIGITS, "task": "classification", "training": DIGITS["training"] | {"loss": "mean_squared_error"},
            "network": {"layers": [{"type": "flatten"}, {"type": "dense", "units": 10}]},
        })  # fmt: skip
    with pytest.raises(Invalid, match="noise"):
        parse_job(DIGITS | {"dataset": DIGITS["dataset"] | {"noise": {"type": "gaussian", "stddev": -1}}})


def test_a_wave_comes_back_from_its_spectra_and_from_its_file() -> None:
    wave = 0.9 * np.sin(0.3 * np.arange(1003)) * np.linspace(0, 1, 1003)
    assert np.allclose(inverse_stft(stft(wave), wave.size), wave, atol=1e-12)
    rate, samples = parse_wav(make_wav(wave, 8000), "wave")
    assert rate == 8000
    assert np.allclose(samples / 32767, wave, atol=1 / 32767)
    assert parse_wav(make_wav(np.array([2.0, -2.0]), 8000), "loud")[1].tolist() == [32767, -32767]


SOUND = Card(
    name="tones", title="Tones", kind="audio", tasks=("classification",), input_shape=(800, 1), classes=("a", "b"),
    target_names=("tone",), train=6, test=6, description="", source="", license="", sample_rate=8000,
)  # fmt: skip


def test_spectral_subtraction_is_the_measure_for_noise_on_sound() -> None:
    clean = voices()
    renew, place = placed(White(0.0), clean)
    renew(0)
    seen = Seen(place.backend.get(place.feed.x), clean)
    found = reconstruction_baseline(SOUND, seen, seen, seen, 4, noisy=True)
    assert found["best"]["name"].startswith("spectral subtraction")
    assert found["best"]["score"] > found["trivial"]["score"] + 5
    assert found["trivial"]["score"] == pytest.approx(0, abs=1)


def test_recordings_are_judged_one_by_one_over_their_own_length() -> None:
    clean = voices(2)
    made = clean * np.float32(0.9)
    made[:, 790:] += 100 * (clean[:, 790:] == 0)
    made[0, 790:] = clean[0, 790:] * np.float32(0.9)
    assert quality(SOUND, made, clean) == pytest.approx(20, abs=1e-3)


def test_an_auto_encoder_of_sound_leaves_recordings_to_listen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = voices()
    renew, place = placed(White(0.0), clean, part="test")
    renew(0)
    monkeypatch.setattr(autoencoder_results, "outputs_of", lambda plan, rows: 0.5 * rows.targets)
    monkeypatch.setattr(autoencoder_results, "bottleneck", lambda outline: None)
    part = Part(clean, np.array([1, 0, 1, 0, 1, 0], np.int32))
    dataset = Dataset(SOUND, part, part, part, Pipeline(), "")
    plan: Any = type("Plan", (), {"backend": place.backend, "outline": None})()
    rows = Rows(place.feed, place.targets)
    found = autoencoder_results.autoencoder_results(Trained(dataset, plan, lambda _: rows, True, None), rows)
    assert set(found.files) == {"before.wav", "after.wav", "clean.wav"}
    before, after, truth = (parse_wav(found.files[f"{n}.wav"], n)[1] for n in ("before", "after", "clean"))
    # One row of each class, 700 and 800 samples long, a quarter of a second of silence behind each.
    assert len(before) == len(after) == len(truth) == 1500 + 2 * 2000
    assert np.abs(after - truth / 2).max() <= 1
    assert np.square(before / 1.0).sum() > 1.5 * np.square(truth / 1.0).sum()
    assert found.result["reconstruction"]["output"] == pytest.approx(20 * math.log10(2), abs=1e-3)
