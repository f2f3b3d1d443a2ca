"""The Celery application: it carries doorbells and decides nothing.

A message says "there may be work"; the database says which. So messages are acknowledged before the work, carry no
results, and may be lost, doubled or forged without harm. The reasons for each setting are in `docs/adr/0004`.
"""

from functools import cache
from typing import Any, Final

from celery import Celery

from services.settings import get_settings

TASK: Final = "trainyard.doorbell"
NO_BROKER: Final = "memory://"
KINDS: Final = ("cpu", "gpu")

#: A frozen broker must never hold anybody for long; a dead connection must be noticed.
TRANSPORT: Final[dict[str, Any]] = {
    "global_keyprefix": "trainyard:",
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 10,
}

SETTINGS: Final[dict[str, Any]] = {
    # Early acknowledgement: recovery is the record's business, so Redis never redelivers a job that still runs.
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    "task_ignore_result": True,
    "result_backend": None,
    # A writable broker must not mean code execution.
    "task_serializer": "json",
    "result_serializer": "json",
    "event_serializer": "json",
    "accept_content": ["json"],
    # A bell held back by a busy worker is a bell that an idle one does not hear.
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "worker_proc_alive_timeout": 60.0,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Celery gives up after 100 attempts by default; Redis may be away for longer.
    "broker_connection_max_retries": None,
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_pool_limit": 1,
    # Nothing that a broker does or holds may end a worker.
    "broker_transport": "workers.line:Transport",
    "task_publish_retry": False,
    "task_default_queue": "trainyard.cpu",
    "task_create_missing_queues": True,
    # Celery's own soft shutdown sleeps its whole time even when the work is done: `workers.main` drains instead.
    "worker_soft_shutdown_timeout": 0.0,
    "enable_utc": True,
}


def queue_of(kind: str) -> str:
    """The queue that workers of a device kind listen on."""
    return f"trainyard.{kind}"


def make_app(redis_url: str) -> Celery:
    """An application on the broker at `redis_url`; without one it hears nothing and its workers poll."""
    app = Celery("trainyard", broker=redis_url or NO_BROKER, set_as_current=False)
    transport = TRANSPORT if redis_url else {}
    app.conf.update(SETTINGS, broker_transport_options=transport)
    if not redis_url:
        app.conf.broker_transport = None
    return app


@cache
def get_app() -> Celery:
    """The application of this process, on the broker of its settings."""
    return make_app(get_settings().redis_url)
