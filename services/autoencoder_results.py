"""What an auto-encoder's job leaves beside its model: how well it gives back, against what, and what to look at.

`latent.safetensors` holds the bottleneck's outputs for the test rows; where rows are recordings, `before.wav`,
`after.wav` and `clean.wav` hold a few of the test part as the network saw them, gave them back, and should have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from services.classical_reconstruction import Seen, reconstruction_baseline
from services.datasets import Dataset, Part
from services.datasets.wav import make_wav
from services.latent import LATENT_FILE, Depth, bottleneck, latent_file, rows_to_keep
from services.noise import spoken_samples
from services.plan import Plan
from services.reconstruction import is_sound, measure_of, scores
from services.train import Rows, inner_outputs, outputs_of

Array = npt.NDArray[Any]

RECORDINGS = 10
_PAUSE_SECONDS = 0.25


@final
@dataclass(frozen=True)
class Trained:
    """A trained auto-encoder and its data. `rows` puts a part on the device; `noisy`: inputs are not the targets;
    `baseline`: seconds that one may take, None for none."""

    dataset: Dataset
    plan: Plan
    rows: Callable[[Part], Rows]
    noisy: bool
    baseline: float | None


@final
@dataclass(frozen=True)
class Findings:
    """What goes into the job's result, a score beside those of the test part, and files by name."""

    result: dict[str, Any]
    test: dict[str, float]
    files: dict[str, bytes]


def autoencoder_results(trained: Trained, test: Rows) -> Findings:
    """Everything about the test rows."""
    card, plan = trained.dataset.card, trained.plan
    clean = test.targets.reshape(len(test.targets), *card.input_shape)
    made = outputs_of(plan, test).reshape(clean.shape)
    seen = np.asarray(plan.backend.get(test.feed.x)).reshape(clean.shape) if trained.noisy else clean
    result: dict[str, Any] = {"reconstruction": scores(card, made, seen if trained.noisy else None, clean)}
    files: dict[str, bytes] = {}
    narrowest = bottleneck(plan.outline)
    if narrowest is not None:
        kept = rows_to_keep(narrowest, len(clean))
        if kept:
            vectors = inner_outputs(plan, test, narrowest.node, kept)
            files[LATENT_FILE] = latent_file(narrowest, vectors, trained.dataset)
        result["latent"] = _about(narrowest, kept, len(clean), int(np.prod(card.input_shape)))
    if is_sound(card) and card.sample_rate:
        chosen = _few(trained.dataset.test, card.classes is not None)
        for name, waves in {"before": seen, "after": made, "clean": clean}.items():
            files[f"{name}.wav"] = _one_after_the_other(waves[chosen], clean[chosen], card.sample_rate)
    if trained.baseline is not None:
        result["baseline"] = _baseline(trained, Seen(seen, clean), narrowest.size if narrowest else 1)
    return Findings(result, {measure_of(card): result["reconstruction"]["output"]}, files)


def _about(layer: Depth, kept: int, rows: int, inputs: int) -> dict[str, Any]:
    return {
        "file": LATENT_FILE if kept else None,
        "layer": layer.name,
        "shape": list(layer.shape),
        "numbers": layer.size,
        "share_of_input": layer.size / inputs,
        "rows": kept,
        "cut": kept < rows,
    }


def _few(part: Part, classes: bool) -> Array:
    """The first row of each class, or the first rows."""
    first = np.unique(part.y, return_index=True)[1] if classes else np.arange(len(part))
    return first[:RECORDINGS]


def _one_after_the_other(waves: Array, clean: Array, rate: int) -> bytes:
    pause = np.zeros(round(_PAUSE_SECONDS * rate))
    pieces = [p for wave, of in zip(waves, clean, strict=True) for p in (wave.ravel()[: spoken_samples(of)], pause)]
    return make_wav(np.concatenate(pieces), rate)


def _baseline(trained: Trained, test: Seen, components: int) -> dict[str, Any]:
    dataset = trained.dataset
    train = Seen(dataset.train.x, dataset.train.x)
    judged = _as_seen(trained, dataset.validation if len(dataset.validation) else dataset.train)
    return reconstruction_baseline(
        dataset.card, train, judged, test, components, trained.noisy, trained.baseline or 0.0
    )


def _as_seen(trained: Trained, part: Part) -> Seen:
    if not trained.noisy:
        return Seen(part.x, part.x)
    rows = trained.rows(part)
    return Seen(np.asarray(trained.plan.backend.get(rows.feed.x)), rows.targets.reshape(part.x.shape))
