"""A folder is a registry: names, aliases, and answers to unknown names."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

from kernels.registry import Registry, UnknownName, layers, losses, optimizers

REGISTRIES: dict[str, Registry[Any]] = {"layers": layers, "losses": losses, "optimizers": optimizers}
each_registry = pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES.keys())


@each_registry
def test_every_file_of_the_folder_defines_a_member(registry: Registry[Any]) -> None:
    folder = Path(*registry.package.split("."))
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {cls.__module__.rpartition(".")[2] for cls in registry.members.values()} == files


@each_registry
def test_every_member_is_a_final_frozen_dataclass_found_by_type_and_alias(registry: Registry[Any]) -> None:
    for name, kind in registry.names.items():
        cls = registry[name]
        assert cls.type == kind
        assert is_dataclass(cls)
        assert getattr(cls, "__final__", False), f"{cls.__name__} is not marked final"
        assert not inspect.isabstract(cls)


@each_registry
def test_no_two_members_answer_to_one_name(registry: Registry[Any]) -> None:
    spoken = [name for cls in registry.members.values() for name in (cls.type, *cls.aliases)]
    assert sorted(spoken) == sorted(set(spoken))


@each_registry
def test_an_unknown_name_lists_the_known_ones_and_the_nearest(registry: Registry[Any]) -> None:
    known = next(iter(registry.members))
    with pytest.raises(UnknownName, match=f"did you mean {known!r}") as caught:
        registry[known + "x"]
    assert all(name in str(caught.value) for name in registry.members)


def test_keras_class_names_are_understood() -> None:
    spoken = ("Flatten", "Dropout", "Softmax", "LeakyReLU", "swish")
    assert [layers[name].type for name in spoken] == ["flatten", "dropout", "softmax", "leaky_relu", "silu"]
    assert [losses[name].type for name in ("mse", "mae")] == ["mean_squared_error", "mean_absolute_error"]
    assert [optimizers[name].type for name in ("SGD", "Adam", "AdamW")] == ["sgd", "adam", "adamw"]
