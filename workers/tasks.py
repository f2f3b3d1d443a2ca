"""The one Celery task: somebody rang."""

from typing import Any

from workers.app import TASK, get_app
from workers.station import answer


@get_app().task(name=TASK, ignore_result=True)
def doorbell(job_id: object = None, **_unknown: Any) -> None:
    """Work off the queue. The job named is only a hint: the record says which comes first."""
    answer(str(job_id))
