"""Names as users write them: `CosineDecay`, `fashion-mnist` and `fashion mnist` all become snake_case."""

import re
from collections.abc import Mapping
from typing import TypeVar

from services.errors import NotFound

Item = TypeVar("Item")

_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")


def canonical(name: str) -> str:
    """Spell `name` in snake_case: `CosineDecay` → `cosine_decay`, `R2Score` → `r2_score`."""
    return _WORD_START.sub("_", name.strip()).replace("-", "_").replace(" ", "_").lower()


def lookup(kind: str, name: str, items: Mapping[str, Item], aliases: Mapping[str, str]) -> Item:
    """The item called `name` (or an alias of it); NotFound lists the known names and guesses which one was meant."""
    wanted = canonical(name)
    wanted = aliases.get(wanted, wanted)
    if wanted not in items:
        raise NotFound(kind, name, known={*items, *(alias for alias in aliases if alias == canonical(alias))})
    return items[wanted]
