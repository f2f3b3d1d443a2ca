"""Changes of a spec as JSON merge patches (RFC 7396): what a patch names is replaced, lists always as a whole."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

Spec = Mapping[str, Any]
Patch = dict[str, Any]
Change = Callable[[dict[str, Any]], Mapping[str, Any]]


def merged(spec: Any, patch: Any) -> Any:
    """The target after the patch, as RFC 7396 defines it: null takes a key away."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    found = dict(spec) if isinstance(spec, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def training(**changed: Any) -> Patch:
    """Other values in the section `training`."""
    return {"training": changed}


def rate(spec: Spec, factor: float) -> Patch:
    """The learning rate times `factor`, in two digits."""
    now = float(spec["training"]["optimizer"]["learning_rate"])
    return training(optimizer={"learning_rate": float(f"{now * factor:.2g}")})


def preprocessing(spec: Spec, *steps: Mapping[str, Any]) -> Patch:
    """More preprocessing after what there is."""
    return {"dataset": {"preprocessing": [*spec["dataset"]["preprocessing"], *map(dict, steps)]}}


def layers(spec: Spec, paths: Mapping[str, Mapping[str, Any]]) -> Patch:
    """Other values in some layers: `network.layers[2]` → {key: value}. A list is replaced as a whole."""
    found = copy.deepcopy(list(spec["network"]["layers"]))
    for path, changed in paths.items():
        found[number(path)].update(changed)
    return {"network": {"layers": found}}


def wider(spec: Spec, factor: int) -> Patch | None:
    """Hidden layers with `factor` times their units or filters; None where there are none."""
    found = copy.deepcopy(list(spec["network"]["layers"]))
    hidden = [layer for layer in found[:-1] if layer["type"] in ("dense", "conv1d", "conv2d")]
    for layer in hidden:
        key = "units" if layer["type"] == "dense" else "filters"
        layer[key] = max(16, layer[key] * factor)
    return {"network": {"layers": found}} if hidden else None


def number(path: str) -> int:
    """The layer that a path such as `network.layers[3].activation` is about."""
    return int(path.partition("[")[2].partition("]")[0])


def before(spec: Spec, path: str) -> int | None:
    """The last layer with a kernel at or before a path; None where there is none."""
    kinds = [layer["type"] for layer in spec["network"]["layers"][: number(path) + 1]]
    found = [i for i, kind in enumerate(kinds) if kind in ("dense", "conv1d", "conv2d")]
    return found[-1] if found else None
