"""Bells of every kind but the right one: doubled, shuffled, forged, poisoned, and one job's bell for everybody."""

import json
import random
import uuid
from collections.abc import Callable
from typing import Final

import redis

from tests.chaos.faults import rest
from tests.chaos.quick import USUAL, concluded, moment, spread, starts, warm_up
from tests.chaos.registry import Findings, Trial, scenario
from tests.chaos.yard import open_yard
from workers.app import TASK, make_app

QUEUE: Final = "trainyard.cpu"
KEY: Final = f"trainyard:{QUEUE}"
HUGE: Final = 4_000_000
START_GOAL: Final = 15.0


@scenario("bells", "doubled, shuffled and forged bells", counts={"bells": 200}, databases=("sqlite",))
def run(trial: Trial) -> Findings:
    """Forge a bell, post a job, and so on; nobody may fall over, no job may run twice or wait."""
    with open_yard(trial.folder, **USUAL) as yard:
        warm_up(yard)
        warm, mains = len(yard.accepted), [part.pid for part in yard.workers]
        with redis.Redis.from_url(yard.broker_url) as line:
            for number in range(1, trial.counts["bells"] + 1):
                body = trial.dice.choice(FORGED)(trial.dice, yard.accepted, yard.broker_url)
                if body is not None:
                    line.lpush(KEY, body)
                if number % 3 == 0:
                    yard.submit(moment(number))
                trial.say(number, trial.counts["bells"], f"{len(yard.accepted)} jobs posted")
                rest(trial.dice, 0.0, 0.4)
        yard.wait(seconds=120)
        waited = [start - posted for id, (posted, start) in starts(yard).items() if id in yard.accepted[warm:]]
        late = [f"a job waited {seconds:.1f} s" for seconds in waited if seconds > START_GOAL]
        ended = [] if mains == [part.pid for part in yard.workers] else ["a worker ended"]
        figures = {"bells": trial.counts["bells"], "jobs": len(yard.accepted), "start, s": spread(waited)}
        return concluded(yard, figures, {"workers live": ended, "started in time": late})


Forge = Callable[[random.Random, list[str], str], bytes | None]


def _garbage(dice: random.Random, _ids: list[str], _url: str) -> bytes:
    return dice.randbytes(dice.randint(0, 200))


def _json(dice: random.Random, _ids: list[str], _url: str) -> bytes:
    return json.dumps(dice.choice([None, 1, "x", [], {}, [[]], {"body": 1}, {"properties": []}])).encode()


def _huge(_dice: random.Random, _ids: list[str], _url: str) -> bytes:
    return json.dumps({"body": "x" * HUGE}).encode()


def _message(body: object, task: str, content_type: str = "application/json") -> bytes:
    headers = {"task": task, "id": str(uuid.uuid4()), "lang": "py"}
    properties = {
        "delivery_tag": str(uuid.uuid4()), "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "body_encoding": "utf-8", "delivery_mode": 2,
    }  # fmt: skip
    message = {"body": body, "content-type": content_type, "content-encoding": "utf-8", "headers": headers}
    return json.dumps(message | {"properties": properties}).encode()


def _another_task(_dice: random.Random, _ids: list[str], _url: str) -> bytes:
    return _message(json.dumps([[], {}, {}]), "celery.backend_cleanup")


def _poisoned(_dice: random.Random, _ids: list[str], _url: str) -> bytes:
    return _message("gASVAAAAAAAAAA==", TASK, "application/x-python-serialize")


def _odd_arguments(dice: random.Random, _ids: list[str], _url: str) -> bytes:
    arguments = dice.choice([[1, 2, 3], {"job_id": {"a": [1]}, "more": None}, {"job_id": "x" * 10_000}])
    args, kwargs = (arguments, {}) if isinstance(arguments, list) else ([], arguments)
    return _message(json.dumps([args, kwargs, {}]), TASK)


def _no_such_job(_dice: random.Random, _ids: list[str], url: str) -> None:
    make_app(url).send_task(TASK, kwargs={"job_id": str(uuid.uuid4())}, queue=QUEUE)


def _doubled(dice: random.Random, ids: list[str], url: str) -> None:
    """Known jobs, finished ones among them, out of order and several times."""
    app = make_app(url)
    for id in dice.choices(ids, k=8):
        app.send_task(TASK, kwargs={"job_id": id}, queue=QUEUE)


FORGED: Final[tuple[Forge, ...]] = (
    _garbage, _json, _huge, _another_task, _poisoned, _odd_arguments, _no_such_job, _doubled,
)  # fmt: skip
