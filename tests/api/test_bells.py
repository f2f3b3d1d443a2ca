"""The bell ringer: after the commit, never in the way of it, and never dead."""

import threading
import time
from collections.abc import Sequence

from api.bells import Bells
from tests.api.stage import House, iris


def test_every_waiting_job_is_rung_once(house: House) -> None:
    house.record.bells.stop()
    rung: list[str] = []
    bells = Bells(house.record.jobs, rung.extend)
    ids = {house.record.jobs.submit("t", iris(), {})[0].id for _ in range(3)}
    assert bells.ring_all() == 3
    assert bells.ring_all() == 0
    assert set(rung) == ids


def test_a_wake_is_heard_at_once(house: House) -> None:
    rung = threading.Event()
    house.record.bells.stop()
    bells = Bells(house.record.jobs, lambda _: rung.set(), seconds=60)
    bells.start()
    house.record.jobs.submit("t", iris(), {})
    bells.wake()
    assert rung.wait(5)
    bells.stop()


def test_trouble_does_not_end_the_thread(house: House) -> None:
    house.record.bells.stop()
    calls: list[float] = []

    def broken(_: Sequence[str]) -> None:
        calls.append(time.monotonic())
        raise OSError("no broker")

    bells = Bells(house.record.jobs, broken, seconds=0.02)
    house.record.jobs.submit("t", iris(), {})
    bells.start()
    time.sleep(0.5)
    bells.stop()
    assert len(calls) > 2
