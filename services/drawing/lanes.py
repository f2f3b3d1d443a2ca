"""Which lane every item and every connection runs in, as trains on parallel tracks: nothing stands on another's way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, count, pairwise
from typing import final

from services.drawing.reading import Edge, Item, columns, edges

Stop = tuple[int, int]
"""A column and a lane."""


@final
class Lanes:
    """Items in columns and lanes. The longest way from the input to the end is lane 0; others lie above and below."""

    def __init__(self, found: Sequence[Item]) -> None:
        self.columns = columns(found)
        self.edges = edges(found)
        self.lanes: dict[int, int] = {}
        self._taken: dict[int, set[int]] = {}
        self._until = list(self.columns)
        self._onward: dict[int, list[int]] = {}
        for source, target in self.edges:
            self._onward.setdefault(source, []).append(target)
        self._place(self._spine(found), 0)
        for number in range(len(found)):
            if number not in self.lanes:
                self._branch(number)
        self._bypasses = {s: self._bypass(s) for s in range(len(found)) if self._far(s) > self._until[s] + 1}

    def stops(self, edge: Edge) -> list[Stop]:
        """The way of a connection: its ends, and its lane in every column between them."""
        source, target = edge
        begin, end = self.columns[source], self.columns[target]
        lane = self._bypasses.get(source, self.lanes[source])
        between = [(c, self.lanes[source] if c <= self._until[source] else lane) for c in range(begin + 1, end)]
        return [(begin, self.lanes[source]), *between, (end, self.lanes[target])]

    def _spine(self, found: Sequence[Item]) -> list[int]:
        at = max(range(len(found)), key=lambda n: (self.columns[n], n))
        way = [at]
        while sources := found[at].sources:
            at = next(s for s in sources if self.columns[s] == self.columns[at] - 1)
            way.append(at)
        return way[::-1]

    def _branch(self, first: int) -> None:
        """Put a row of items that follow each other into the nearest lane that is free as far as they reach."""
        way = [first]
        while onward := [t for t in self._onward.get(way[-1], []) if t not in self.lanes]:
            way.append(min(onward, key=lambda n: (self.columns[n], n)))
        begin, end = self.columns[first], max(self.columns[way[-1]], self._far(way[-1]) - 1)
        for number, after in pairwise(way):
            self._until[number] = self.columns[after] - 1
        self._until[way[-1]] = end
        self._place(way, self._free(range(begin, end + 1), _outward(1)))

    def _bypass(self, source: int) -> int:
        """The lane in which what an item gives passes by other items; one for all who take it further on."""
        span = range(self._until[source] + 1, self._far(source))
        here = self.lanes[source]
        lane = self._free(span, (here + step for step in _outward(-1)))
        self._taken.setdefault(lane, set()).update(span)
        return lane

    def _far(self, number: int) -> int:
        return max((self.columns[t] for t in self._onward.get(number, [])), default=0)

    def _place(self, way: Sequence[int], lane: int) -> None:
        taken = self._taken.setdefault(lane, set())
        for number in way:
            self.lanes[number] = lane
            taken.update(range(self.columns[number], self._until[number] + 1))

    def _free(self, span: range, lanes: Iterator[int]) -> int:
        return next(lane for lane in lanes if self._taken.get(lane, set()).isdisjoint(span))


def _outward(first: int) -> Iterator[int]:
    """0, then step by step away from it to both sides, beginning with `first`."""
    return chain((0,), chain.from_iterable((first * n, -first * n) for n in count(1)))
