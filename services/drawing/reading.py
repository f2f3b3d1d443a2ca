"""From an outline's layers to the items of a picture: activations join their layers, and long networks are elided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, final

Edge = tuple[int, int]

COLUMNS, ITEMS, EDGES = 28, 56, 300
"""At most so much is drawn; what lies in the middle of a longer network becomes one item with dots."""
_BUDGETS = tuple((COLUMNS // part, ITEMS // part, EDGES) for part in (1, 2, 4, 6))
_INPUT, _ELIDED = "input", "elided"
NAME_CHARACTERS = 63


@final
@dataclass(frozen=True)
class Item:
    """One thing in the picture: a layer with its activation, the network's input, or many layers that are left out.

    `sources` are numbers of items. `shape` is that of one row of its output, `settings` the layer's arguments.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int
    sources: tuple[int, ...]
    settings: Mapping[str, Any]
    activation: str | None = None
    layers: int = 1
    fed: tuple[int, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether it has weights."""
        return self.parameters > 0

    @property
    def told(self) -> str:
        """All about it in one sentence."""
        if self.type == _ELIDED:
            return f"{self.layers} layers, {self.parameters:,} parameters"
        kind = f" ({self.type})" if self.type not in self.name else ""
        ends = f", {self.activation}" if self.activation else ""
        weights = f", {self.parameters:,} parameters" if self.parameters else ""
        return f"{self.name}{kind}{ends}: {dimensions(self.shape)}{weights}"


def dimensions(shape: Sequence[int]) -> str:
    """`28×28×32`, `1,024`."""
    return f"{shape[0]:,}" if len(shape) == 1 else "×".join(map(str, shape)) or "1"


def items(outline: Mapping[str, Any]) -> list[Item]:
    """The input and every layer. Raises ValueError where the outline holds no layers."""
    layers = outline.get("layers") or []
    if not layers:
        raise ValueError("this outline holds no layers to draw")
    first = tuple(outline.get("input_shape") or layers[0].get("input_shape") or ())
    words = layers[0].get("type") in ("embedding",)
    found = [Item(_INPUT, "words" if words else _INPUT, first, 0, (), {})]
    places = {-1: 0}
    for number, layer in enumerate(layers):
        sources = tuple(places[source] for source in layer.get("inputs") or (number - 1,))
        if str(layer.get("path", "")).endswith(".activation"):
            places[number] = sources[0]
            found[sources[0]] = replace(found[sources[0]], activation=_short(layer["type"]))
            continue
        places[number] = len(found)
        found.append(_item(layer, sources))
    return found


def _item(layer: Mapping[str, Any], sources: tuple[int, ...]) -> Item:
    shape, fed = (tuple(map(int, layer.get(key) or ())) for key in ("output_shape", "input_shape"))
    sources = tuple(dict.fromkeys(sources))
    return Item(_short(layer["name"]), _short(layer["type"]), shape, int(layer.get("parameters") or 0), sources,
                layer.get("settings") or {}, fed=fed)  # fmt: skip


def _short(text: object) -> str:
    """A name no longer than names may be."""
    return str(text) if len(str(text)) <= NAME_CHARACTERS else f"{str(text)[: NAME_CHARACTERS - 1]}…"


def described(found: Sequence[Item]) -> str:
    """The whole network in words, every layer by its name, for those who cannot see it."""
    parameters = sum(item.parameters for item in found)
    chain = all(item.sources == (number - 1,) for number, item in enumerate(found) if number) or len(found) > ITEMS
    origins = ["" if chain else _and(found[source].name for source in item.sources) for item in found]
    told = [item.told + (f", from {origin}" if origin else "") for item, origin in zip(found, origins, strict=True)]
    return f"{len(found) - 1} layers, {parameters:,} parameters. {'; '.join(told)}."


def _and(names: Iterable[str]) -> str:
    first, more = [*islice(names := iter(names), 4)], len([*names])
    return " and ".join(first + ([f"{more} more"] if more else []))


def edges(found: Sequence[Item]) -> list[Edge]:
    """Who takes whose output."""
    return [(source, number) for number, item in enumerate(found) for source in item.sources]


def columns(found: Sequence[Item]) -> list[int]:
    """How far every item is from the input, counted on the longest way."""
    depth: list[int] = []
    for item in found:
        depth.append(max((depth[source] + 1 for source in item.sources), default=0))
    return depth


def elided(found: Sequence[Item]) -> list[Item]:
    """The same, with its middle left out where there is too much to draw."""
    for wide, many, lines in _BUDGETS:
        shown = _thinned(_shortened(found, wide), many)
        if len(shown) <= many and len(edges(shown)) <= lines:
            return shown
    return shown


def _shortened(found: Sequence[Item], wide: int) -> list[Item]:
    """At most `wide` columns: the first and the last of them, and one item for all between."""
    depth = columns(found)
    last = max(depth)
    if last < wide:
        return list(found)
    head, tail = (wide - 1) // 2, last + 1 - wide // 2
    return _merged(found, [-1 if head <= d < tail else n for n, d in enumerate(depth)])


def _thinned(found: Sequence[Item], many: int) -> list[Item]:
    """At most `many` items, if a few of every column suffice for that: the others of a column become one."""
    depth = columns(found)
    for most in (len(found), 8, 5, 3, 2):
        ranks: dict[int, int] = {}
        groups = []
        for number, d in enumerate(depth):
            ranks[d] = ranks.get(d, 0) + 1
            crowded = depth.count(d) > most and ranks[d] >= most
            groups.append(-1 - d if crowded and most < len(found) else number)
        if len(set(groups)) <= many:
            break
    return _merged(found, groups)


def _merged(found: Sequence[Item], groups: Sequence[int]) -> list[Item]:
    """One item for all with the same negative group, in the order of columns."""
    depth = columns(found)
    members: dict[int, list[int]] = {}
    for number in sorted(range(len(found)), key=lambda n: (depth[n], n)):
        members.setdefault(groups[number], []).append(number)
    places = {number: place for place, group in enumerate(members.values()) for number in group}
    shown = []
    for place, group in enumerate(members.values()):
        sources = tuple(dict.fromkeys(places[s] for n in group for s in found[n].sources if places[s] != place))
        item = found[group[0]]
        if len(group) > 1:
            total = sum(found[n].parameters for n in group)
            item = Item(
                "", _ELIDED, found[group[-1]].shape, total, sources, {}, layers=sum(found[n].layers for n in group)
            )
        shown.append(replace(item, sources=sources))
    return shown
