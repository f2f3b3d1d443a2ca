"""Where everything stands: columns from left to right, broken into rows as text is, and the ways between the items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from services.drawing.lanes import Lanes, Stop
from services.drawing.reading import Edge, Item
from services.drawing.words import LINE, lines, width

Point = tuple[float, float]
Size = tuple[float, float]

WIDTH, MARGIN = 820.0, 22.0
GAP, BENT_GAP, LANE_GAP, ROW_GAP = 22.0, 34.0, 8.0, 26.0
TRACK = 9.0
"""Half the height of a lane in which only a connection runs."""
WORDS = 6.0
"""Between a glyph and its words."""
APART = 7.0
"""Between connections that go to the next row side by side."""


@final
@dataclass(frozen=True)
class Box:
    """An item's place, its words included; its glyph is `glyph` (width, height) about (`middle`, `axis`)."""

    left: float
    top: float
    right: float
    bottom: float
    middle: float
    axis: float
    words: float
    glyph: Size


@final
@dataclass(frozen=True)
class Way:
    """A connection: corners that are rounded, and whether both ends stand side by side in one row and lane."""

    points: tuple[Point, ...]
    straight: bool


@final
@dataclass(frozen=True)
class Picture:
    """The arranged network."""

    items: Sequence[Item]
    boxes: Sequence[Box]
    edges: Sequence[Edge]
    ways: dict[Edge, Way]
    width: float
    height: float


@final
@dataclass
class _Row:
    """Columns `first` to `last`, with the height of every lane in use and what goes on below."""

    first: int
    last: int
    axes: dict[int, float]
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0


def arrange(found: Sequence[Item], sizes: Sequence[Size]) -> Picture:
    """Every item in its place; `sizes` are those of the glyphs."""
    return _Arranged(found, sizes).picture()


@final
class _Arranged:
    """The work of one arrangement."""

    def __init__(self, found: Sequence[Item], sizes: Sequence[Size]) -> None:
        self.found, self.sizes, self.plan = found, sizes, Lanes(found)
        self.stops = {edge: self.plan.stops(edge) for edge in self.plan.edges}
        self.widths = self._widths()
        self.gaps = self._gaps()
        self.rows = self._rows()
        self.crossing = [self._crossing(row.last) for row in self.rows]
        self.lefts: dict[int, float] = {}
        self._set_columns()
        self._set_lanes()

    def picture(self) -> Picture:
        """Boxes and ways."""
        boxes = [self._box(number) for number in range(len(self.found))]
        ways = {edge: self._way(edge, boxes) for edge in self.plan.edges}
        right = max(row.right for row in self.rows) + MARGIN + APART * max(map(len, self.crossing))
        return Picture(self.found, boxes, self.plan.edges, ways, right, self.rows[-1].bottom + MARGIN)

    def _widths(self) -> list[float]:
        found = [0.0] * (max(self.plan.columns) + 1)
        for number, item in enumerate(self.found):
            wide = max(self.sizes[number][0], max(map(width, lines(item)), default=0.0))
            found[self.plan.columns[number]] = max(found[self.plan.columns[number]], wide)
        return found

    def _gaps(self) -> list[float]:
        """The space after every column: more where a connection changes its lane."""
        bent = {a[0] for stops in self.stops.values() for a, b in pairwise(stops) if a[1] != b[1]}
        return [BENT_GAP if column in bent else GAP for column in range(len(self.widths))]

    def _rows(self) -> list[_Row]:
        """As few rows as there must be, and of those the evenest."""
        full = self._broken(WIDTH - 2 * MARGIN)
        limits = range(int(max(self.widths)), int(WIDTH - 2 * MARGIN), 20)
        return next((rows for limit in limits if len(rows := self._broken(limit)) <= len(full)), full)

    def _broken(self, limit: float) -> list[_Row]:
        """Break where the line is full, or a little earlier where fewer connections cross."""
        rows, first = [], 0
        while first < len(self.widths):
            last, used = first, self.widths[first]
            while last + 1 < len(self.widths) and used + self.gaps[last] + self.widths[last + 1] <= limit:
                used += self.gaps[last] + self.widths[last + 1]
                last += 1
            if last + 1 < len(self.widths):
                last = min(range(max(first, last - 2), last + 1), key=lambda c: (len(self._crossing(c)), -c))
            rows.append(_Row(first, last, {}))
            first = last + 1
        return rows

    def _crossing(self, column: int) -> list[Stop]:
        """Where connections leave `column` for the next one; each lane's in its own, for they go together."""
        if column + 1 == len(self.widths):
            return []
        return sorted({step for stops in self.stops.values() for step in _leaving(stops, column)})

    def _set_columns(self) -> None:
        for row in self.rows:
            x = MARGIN + (APART * len(self.crossing[self.rows.index(row) - 1]) if row.first else 0.0)
            for column in range(row.first, row.last + 1):
                self.lefts[column] = x
                x += self.widths[column] + self.gaps[column]
            row.right = x - self.gaps[row.last]

    def _set_lanes(self) -> None:
        y = MARGIN
        for row, crossing in zip(self.rows, self.crossing, strict=True):
            row.top = y
            for lane, (above, below) in sorted(self._heights(row).items()):
                row.axes[lane] = y + above
                y += above + below + LANE_GAP
            y -= LANE_GAP
            row.bottom = y
            y += ROW_GAP + APART * len(crossing)

    def _heights(self, row: _Row) -> dict[int, Size]:
        """How much every lane of a row needs above and below its axis."""
        found: dict[int, Size] = {}
        for stops in self.stops.values():
            for column, lane in stops:
                if row.first <= column <= row.last:
                    found.setdefault(lane, (TRACK, TRACK))
        for number, item in enumerate(self.found):
            if row.first <= self.plan.columns[number] <= row.last:
                half = self.sizes[number][1] / 2
                above, below = found.get(self.plan.lanes[number], (TRACK, TRACK))
                words = LINE * len(lines(item))
                found[self.plan.lanes[number]] = (max(above, half), max(below, self._deepest(row, number) + words))
        return found

    def _deepest(self, row: _Row, number: int) -> float:
        """From the axis to the words of all items in the row and lane of this one."""
        lane = self.plan.lanes[number]
        halves = [
            size[1] / 2
            for n, size in enumerate(self.sizes)
            if self.plan.lanes[n] == lane and row.first <= self.plan.columns[n] <= row.last
        ]
        return max(halves) + WORDS

    def _row(self, column: int) -> _Row:
        return next(row for row in self.rows if row.first <= column <= row.last)

    def _box(self, number: int) -> Box:
        column, item, size = self.plan.columns[number], self.found[number], self.sizes[number]
        row = self._row(column)
        axis, middle = row.axes[self.plan.lanes[number]], self.lefts[column] + self.widths[column] / 2
        half = max(size[0], max(map(width, lines(item)), default=0.0)) / 2
        words = axis + self._deepest(row, number)
        bottom = words + LINE * len(lines(item))
        return Box(middle - half, axis - size[1] / 2, middle + half, bottom, middle, axis, words, size)

    def _way(self, edge: Edge, boxes: Sequence[Box]) -> Way:
        source, target = (boxes[number] for number in edge)
        stops = self.stops[edge]
        points: list[Point] = [(source.middle + source.glyph[0] / 2, source.axis)]
        for here, there in pairwise(stops):
            points += self._step(here, there)
        points.append((target.middle - target.glyph[0] / 2, target.axis))
        straight = len(stops) == 2 and stops[0][1] == stops[1][1] and self._row(stops[0][0]) is self._row(stops[1][0])
        return Way(tuple(_needed(points)), straight)

    def _step(self, here: Stop, there: Stop) -> list[Point]:
        """From a column to the next: along the lane, across to another, or round to the next row."""
        row, onward = self._row(here[0]), self._row(there[0])
        y, then = row.axes[here[1]], onward.axes[there[1]]
        left = self.lefts[there[0]]
        if row is onward:
            return [(self.lefts[here[0]] + self.widths[here[0]], y), (left, then)]
        place = self.rows.index(row)
        rank = self.crossing[place].index((here[1], there[1]))
        out = row.right + 10 + APART * rank
        between = row.bottom + ROW_GAP / 2 + APART * rank
        back = left - 10 - APART * rank
        return [(out, y), (out, between), (back, between), (back, then), (left, then)]


def _leaving(stops: Sequence[Stop], column: int) -> list[Stop]:
    """The lanes before and after, where a connection goes from `column` to the next."""
    return [(a[1], b[1]) for a, b in pairwise(stops) if a[0] == column]


def _needed(points: Sequence[Point]) -> list[Point]:
    """Without points that lie on a straight line between their neighbours."""
    kept = [points[0]]
    for here, after in pairwise(points[1:]):
        if not (kept[-1][1] == here[1] == after[1]):
            kept.append(here)
    return [*kept, points[-1]]
