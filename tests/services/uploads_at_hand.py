"""Small files to upload, and a desk that looks at them without a child process: the parsers are the same."""

import random
from collections.abc import Mapping
from typing import Any

from services.uploads.child import answer
from services.uploads.inspector import answered
from services.uploads.limits import Limits


def flowers(rows: int = 240, seed: int = 1) -> bytes:
    """A CSV table whose last column, a colour, follows from its numbers; a few numbers are missing."""
    dice, lines = random.Random(seed), ["length,width,ground,colour"]
    for number in range(rows):
        length, width = dice.gauss(5, 1), dice.gauss(3, 1)
        colour = "red" if length - width > 2 else "blue"
        shown = "" if number % 40 == 7 else f"{width:.2f}"
        lines.append(f"{length:.2f},{shown},{dice.choice(['sand', 'clay', 'loam'])},{colour}")
    return "\n".join(lines).encode()


class Here:
    """An inspector that answers in this process; it notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []

    def ask(self, request: Mapping[str, Any], limits: Limits, called: tuple[str, str] | None = None) -> dict[str, Any]:
        """What a child would have answered."""
        self.asked.append(request)
        return answered(answer(request), called)

    def stop(self) -> None:
        """There is nothing to end."""
