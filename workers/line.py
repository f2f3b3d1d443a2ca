"""The line to the broker: whatever goes wrong on it, the worker hangs up and calls again, and never ends because of it.

Kombu takes a message that is no JSON, a key of the wrong type, or a broker without memory for a bug of ours and lets
the worker end, and with it the job that it runs. But a broker is only a bell; jobs start without it, too.
"""

import time
from typing import Any, Final, final

from kombu.transport import redis

#: What broke at once may break at once again: a pause keeps it from filling the log and the processor.
PAUSE_SECONDS: Final = 1.0


@final
class Transport(redis.Transport):
    """Redis, with every error one after which the worker connects again, though not more than once a second."""

    connection_errors = (Exception,)
    _connected = float("-inf")

    def establish_connection(self) -> Any:
        """Connect; the second time within a second only when that second has passed."""
        early = Transport._connected + PAUSE_SECONDS - time.monotonic()
        if early > 0:
            time.sleep(early)
        Transport._connected = time.monotonic()
        connect: Any = super().establish_connection
        return connect()
