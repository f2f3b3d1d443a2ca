"""A folder is a registry: every file in it may define members, found by their `type` or an alias."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from functools import cached_property
from typing import ClassVar, Generic, Protocol, TypeVar, final

from kernels.operator import Loss, Operator
from kernels.optimizer import Optimizer


class Named(Protocol):
    """What a registry holds: classes with a `type` and aliases."""

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]]


Member = TypeVar("Member", bound=Named)


class UnknownName(LookupError):
    """No member of that name; the message lists the known ones and the nearest."""


@final
class Registry(Generic[Member]):
    """All final subclasses of `base` that live in the modules of `package`."""

    def __init__(self, package: str, base: type[Member], noun: str) -> None:
        self.package, self.base, self.noun = package, base, noun

    @cached_property
    def members(self) -> dict[str, type[Member]]:
        """Every member by type, in alphabetical order. Two members of one type are refused."""
        package = importlib.import_module(self.package)
        modules = sorted(m.name for m in pkgutil.iter_modules(package.__path__, self.package + "."))
        found: dict[str, type[Member]] = {}
        for name in modules:
            for cls in vars(importlib.import_module(name)).values():
                if not inspect.isclass(cls) or not issubclass(cls, self.base) or inspect.isabstract(cls):
                    continue
                if cls.__module__ != name or "type" not in vars(cls):
                    continue
                if found.setdefault(cls.type, cls) is not cls:
                    raise ValueError(f"two {self.noun}s are called {cls.type!r}: {found[cls.type]} and {cls}")
        return dict(sorted(found.items()))

    @cached_property
    def names(self) -> dict[str, str]:
        """Every accepted name (types and aliases) and the type it means."""
        return {name: cls.type for cls in self.members.values() for name in (cls.type, *cls.aliases)}

    def __getitem__(self, name: str) -> type[Member]:
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownName(f"unknown {self.noun} {name!r}{hint} (known: {', '.join(self.members)})")
        return self.members[self.names[name]]


layers: Registry[Operator] = Registry("kernels.ops", Operator, "layer")  # type: ignore[type-abstract]
losses: Registry[Loss] = Registry("kernels.losses", Loss, "loss")  # type: ignore[type-abstract]
optimizers: Registry[Optimizer] = Registry("kernels.optimizers", Optimizer, "optimizer")  # type: ignore[type-abstract]
