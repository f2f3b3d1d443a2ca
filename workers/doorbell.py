"""Ring for idle workers: the one name that the API imports from here.

A bell is a hint, so ringing gives up after a second, never raises, and adds nothing to a cord that is full of bells.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import kombu.transport.redis  # noqa: F401  (half a second that must not fall on the first bell)
from kombu.connection import Connection

from services.settings import get_settings
from workers.app import KINDS, TASK, TRANSPORT, get_app, queue_of

log = logging.getLogger(__name__)

RING_SECONDS: Final = 0.9
#: Any bell wakes a worker, whatever job it names: more of them than workers are of no use.
FULL: Final = 100

_TRANSPORT: Final = TRANSPORT | {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "max_retries": 1,
    "interval_start": 0.0,
    "interval_max": 0.0,
    "connect_retries_timeout": 0.5,
}
_ringing = threading.Lock()


def ring(job_id: str, device: str = "auto") -> bool:
    """Tell idle workers that there may be work; whether the broker took it. At most a second, never an exception.

    `device` (`auto`, `cpu`, `gpu`) picks who hears it; workers of every kind by default.
    """
    return ring_all([job_id], device)


def ring_all(job_ids: Sequence[str], device: str = "auto") -> bool:
    """Ring for several jobs at once: one thread and one look at each cord, however many they are."""
    began = time.monotonic()
    if not get_settings().redis_url or not _ringing.acquire(timeout=RING_SECONDS):
        return False
    taken: queue.SimpleQueue[bool] = queue.SimpleQueue()
    kinds = KINDS if device == "auto" else (device.partition(":")[0],)
    # On a thread of its own, because no socket option bounds a name lookup.
    threading.Thread(target=_ring, args=(job_ids, kinds, taken), name="doorbell", daemon=True).start()
    try:
        return taken.get(timeout=max(0.0, RING_SECONDS - (time.monotonic() - began)))
    except queue.Empty:
        return False


def _ring(job_ids: Sequence[str], kinds: tuple[str, ...], taken: "queue.SimpleQueue[bool]") -> None:
    began = time.monotonic()
    try:
        for kind in kinds:
            _send(job_ids, queue_of(kind))
        taken.put(True)
    except Exception as error:
        log.info("the broker does not take the bell after %.2f s: %s", time.monotonic() - began, error)
        _hang_up()
        taken.put(False)
    finally:
        _ringing.release()


@cache
def _line() -> Any:
    connect: Any = Connection
    return connect(get_settings().redis_url, transport_options=dict(_TRANSPORT))


def _hang_up() -> None:
    try:
        _line().release()
    except Exception:
        log.debug("closing the broker's connection failed", exc_info=True)
    _line.cache_clear()


def _send(job_ids: Sequence[str], name: str) -> None:
    for job_id in job_ids[: max(0, FULL - _waiting(name))]:
        get_app().send_task(TASK, kwargs={"job_id": job_id}, queue=name, connection=_line(), retry=False)


def _waiting(name: str) -> int:
    # Not kombu's declaration, which asks three times as much.
    return int(_line().default_channel.client.llen(name))
