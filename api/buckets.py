"""Buckets of tries in this process's memory: what bounds strangers must hold without any broker."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

MOST_BUCKETS: Final = 10_000


@final
@dataclass
class Bucket:
    """So many tries are left, as of `at` (monotonic seconds)."""

    left: float
    at: float


@final
class Buckets:
    """A bucket of tries by name; the least lately used ones are forgotten, so that memory stays bounded."""

    def __init__(self, size: int, refill_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Buckets of `size` tries; a try comes back every `refill_seconds`."""
        self._size, self._refill, self._clock = size, refill_seconds, clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, name: str) -> float:
        """Take a try out of a bucket: 0.0 when there was one, otherwise the seconds until there is."""
        now = self._clock()
        while len(self._buckets) >= MOST_BUCKETS and name not in self._buckets:
            self._buckets.popitem(last=False)
        bucket = self._buckets.setdefault(name, Bucket(self._size, now))
        self._buckets.move_to_end(name)
        bucket.left = min(self._size, bucket.left + (now - bucket.at) / self._refill)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) * self._refill
        bucket.left -= 1
        return 0.0


def network_of(address: str) -> str:
    """What one client can be taken for: an IPv4 address, or the /64 of an IPv6 one, which its owner has whole."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
