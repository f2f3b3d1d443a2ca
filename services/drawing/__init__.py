"""Pictures of networks: from a preflight's outline (plain JSON) to one SVG, without any dependency.

`reading` makes items of layers, `arrange` gives every item its place and every connection its way, `glyphs` draw what
a layer is, `svg` writes. The same outline gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.drawing.arrange import Picture, arrange
from services.drawing.glyphs import glyph, size
from services.drawing.joints import joined
from services.drawing.reading import Item, described, elided, items
from services.drawing.svg import POLICY, document, label, way

__all__ = ["POLICY", "draw", "picture"]

MESHES = 48
"""With more items than these, neurons are not connected one by one: the lines would be grey paper."""


def draw(outline: Mapping[str, Any], title: str = "network") -> str:
    """The network of an outline as SVG. Raises ValueError where the outline holds no layers."""
    found = picture(outline)
    parts = [_connection(found, s, t) for s, t in found.edges]
    parts += [_item(found, number) for number in range(len(found.items))]
    parts += [joined(found, s, t) for s, t in found.edges if len(found.items) <= MESHES]
    return document(title, described(items(outline)), found.width, found.height, parts)


def picture(outline: Mapping[str, Any]) -> Picture:
    """Every item's box and every connection's way, for one who draws or measures."""
    shown = elided(items(outline))
    return arrange(shown, [size(item) for item in shown])


def _connection(found: Picture, source: int, target: int) -> str:
    return way(found.ways[source, target], meshed=len(found.items) <= MESHES and bool(joined(found, source, target)))


def _item(found: Picture, number: int) -> str:
    item: Item = found.items[number]
    box = found.boxes[number]
    return label(item, box, glyph(item, box.middle, box.axis))
