"""Scenarios by name: what a campaign can run, what each is told and what it answers."""

import importlib
import pkgutil
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias, final

DATABASES: Final = ("sqlite", "postgresql")
Say: TypeAlias = Callable[[int, int, str], None]


@dataclass(frozen=True)
@final
class Trial:
    """One run of one scenario; `folder` is empty, `say(done, total, note)` prints progress."""

    seed: int
    database: str
    counts: Mapping[str, int]
    folder: Path
    say: Say

    @cached_property
    def dice(self) -> random.Random:
        """Everything random in this run comes from here."""
        return random.Random(f"{self.seed}/{self.database}")


@dataclass
@final
class Findings:
    """What came out: violations by rule, each in plain words, and flat figures."""

    violations: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
@final
class Scenario:
    """One scenario: its name, one line about it, what can be counted, where it runs."""

    name: str
    summary: str
    run: Callable[[Trial], Findings]
    counts: Mapping[str, int]
    databases: tuple[str, ...]


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(
    name: str, summary: str, *, counts: Mapping[str, int] | None = None, databases: tuple[str, ...] = DATABASES
) -> Callable[[Callable[[Trial], Findings]], Callable[[Trial], Findings]]:
    """Register a function as a scenario; `counts` are its amounts by name, with their defaults."""

    def register(run: Callable[[Trial], Findings]) -> Callable[[Trial], Findings]:
        SCENARIOS[name] = Scenario(name, summary, run, dict(counts or {}), databases)
        return run

    return register


def every_scenario() -> dict[str, Scenario]:
    """All scenarios, from every file of `tests/chaos/scenarios`."""
    from tests.chaos import scenarios

    for found in pkgutil.iter_modules(scenarios.__path__):
        importlib.import_module(f"{scenarios.__name__}.{found.name}")
    return dict(sorted(SCENARIOS.items()))
