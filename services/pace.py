"""How long the rest of a run will take."""

import time
from typing import final


@final
class Pace:
    """How long the rest will take, from the steps of this attempt."""

    def __init__(self, step: int, total: int) -> None:
        """Begin now, at `step` of `total`."""
        self.first, self.total, self.began = step, total, time.monotonic()

    def eta(self, step: int) -> dict[str, float]:
        """Seconds to go as a message's field."""
        done = max(1, step - self.first)
        return {"eta_seconds": round((time.monotonic() - self.began) / done * (self.total - step), 3)}
