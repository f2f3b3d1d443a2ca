"""What a network thinks on the way: its layers by name and number, and the narrowest of them, the bottleneck."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from services.datasets import Dataset
from services.errors import Invalid, Mistake, did_you_mean
from services.export.safetensors import pack
from services.outline import Outline

LATENT_FILE = "latent.safetensors"
MOST_BYTES = 64 * 2**20
MARK = "latent"
"""The name that makes a layer the bottleneck, whatever its size."""


@final
@dataclass(frozen=True)
class Depth:
    """A layer of a network: its place in `network.layers`, its name, and the node that gives its output.

    That of a layer with an activation is what the activation gives.
    """

    number: int
    name: str
    node: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers for each row."""
        return int(np.prod(self.shape))


def depths(outline: Outline) -> list[Depth]:
    """All layers in order."""
    found: dict[int, Depth] = {}
    for k, node in enumerate(outline.nodes):
        place = re.match(r"network\.layers\[(\d+)\]", node.path)
        number = int(place[1]) if place else k
        name = found[number].name if number in found else node.name
        found[number] = Depth(number, name, k, node.signature.output.shape[1:])
    return [found[number] for number in sorted(found)]


def depth(outline: Outline, layer: str | int) -> Depth:
    """The layer of this name, or of this number counted from 0 (from the end where negative); Invalid lists names."""
    known = depths(outline)
    if isinstance(layer, str) and (named := [one for one in known if one.name == layer]):
        return named[0]
    if isinstance(layer, int) and -len(known) <= layer < len(known):
        return known[layer]
    if isinstance(layer, int):
        message = f"there is no layer number {layer}"
        raise Invalid([Mistake("layer", "unknown_name", message, f"Layers are numbered from 0 to {len(known) - 1}.")])
    hint = did_you_mean(layer, [one.name for one in known])
    raise Invalid([Mistake("layer", "unknown_name", f"there is no layer {layer!r}", hint)])


def bottleneck(outline: Outline) -> Depth | None:
    """The layer called `latent`, or the one before the last that gives the fewest numbers, the latest of equals.

    None where the last layer is the only one.
    """
    inner = depths(outline)[:-1]
    marked = [one for one in inner if one.name == MARK]
    return marked[0] if marked else min(reversed(inner), key=lambda one: one.size, default=None)


def rows_to_keep(layer: Depth, rows: int) -> int:
    """How many rows' latent vectors fit into the file."""
    return min(rows, MOST_BYTES // (4 * layer.size))


def latent_file(layer: Depth, vectors: np.ndarray[Any, Any], dataset: Dataset) -> bytes:
    """A safetensors file: `latent` (n, …) and, where the data set has targets, `target` of the same test rows."""
    card, part = dataset.card, dataset.test
    about = {
        "schema": "trainyard-latent/v1",
        "layer": layer.name,
        "dataset": card.name,
        "rows": len(vectors),
        "rows_of_test": len(part),
        "classes": None if card.classes is None else list(card.classes),
        "target_names": list(card.target_names),
    }
    targets = {} if part.y.dtype.hasobject else {"target": part.y[: len(vectors)]}
    return pack({"latent": vectors, **targets}, about)
