"""How long the rest of a job will take."""

import time
from typing import final


@final
class Pace:
    """Measured over the steps of this attempt: `step` are done, `total` are to be done."""

    def __init__(self, step: int, total: int) -> None:
        """Begin to count now."""
        self.first, self.total, self.began = step, total, time.monotonic()

    def eta(self, step: int) -> dict[str, float]:
        """Seconds to go as a message's field."""
        done = max(1, step - self.first)
        return {"eta_seconds": round((time.monotonic() - self.began) / done * (self.total - step), 3)}
