"""Wrong keys are answered ever more seldom: buckets in this process's memory, so they hold without any broker.

A key is compared first and counted only when it is wrong. So nobody's failures lock a right key out, and as secrets
have 256 bits, no number of guesses matters; what is bounded is noise: log lines, audit events, and the wish to try.
"""

import math
import time
from collections.abc import Callable
from typing import Final, final

from api.buckets import Buckets, network_of
from services.errors import TooManyAttempts, Unauthorized
from services.keys import Key, KeyStore, id_of

FAILURES: Final = 20
"""Wrong keys in a row that are answered 401, for each client address and for each key id."""
REFILL_SECONDS: Final = 6.0
"""After so long one more is."""
ID_LENGTH: Final = 12


@final
class Logins:
    """Verifies keys for clients at addresses."""

    def __init__(self, keys: KeyStore, clock: Callable[[], float] = time.monotonic) -> None:
        """Look keys up in `keys`."""
        self._keys = keys
        self._addresses, self._ids = (Buckets(FAILURES, REFILL_SECONDS, clock) for _ in range(2))

    def verify(self, secret: str, address: str) -> Key:
        """The key of a secret; Unauthorized, or TooManyAttempts where wrong ones come thick and fast."""
        try:
            return self._keys.verify(secret)
        except Unauthorized:
            id = id_of(secret)[:ID_LENGTH]
            wait = max(self._addresses.take(network_of(address)), self._ids.take(id) if id else 0.0)
            if wait:
                raise TooManyAttempts(math.ceil(wait)) from None
            raise
