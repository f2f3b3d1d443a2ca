"""Numbers for Prometheus, kept per application rather than per process, so that two applications never share them."""

import time
from collections.abc import Iterator
from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.fleet import Fleet

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0)


@final
class Measures:
    """Requests as they are served; jobs and workers as they stand when asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("trainyard_http_requests", "Requests served.", labels, registry=self.registry)
        self.seconds = Histogram(
            "trainyard_http_seconds", "Time to the first byte.", ("route",), registry=self.registry, buckets=BUCKETS
        )

    def text(self, fleet: Fleet, watchers: int) -> bytes:
        """Everything, in the text format."""
        state = CollectorRegistry()
        state.register(Standing(fleet, watchers))
        return generate_latest(self.registry) + generate_latest(state)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """One request: by route, never by address, so that ids do not become labels."""
        route = getattr(scope.get("route"), "path", None) or "unknown"
        self.requests.labels(scope["method"], route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)


@final
class Standing(Collector):
    """Jobs per state, the queue, workers per device and stream watchers at this moment."""

    def __init__(self, fleet: Fleet, watchers: int) -> None:
        self.fleet, self.watchers = fleet, watchers

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One gauge after the other."""
        queue = self.fleet.queue()
        yield gauge("trainyard_jobs", "Jobs by state.", "state", queue.depth)
        yield gauge("trainyard_queued_jobs", "Queued jobs by device.", "device", queue.by_device)
        yield GaugeMetricFamily("trainyard_queue_wait_seconds", "Longest wait in the queue.", queue.oldest_wait_seconds)
        kinds = [worker.device.kind for worker in self.fleet.workers(within_seconds=60)]
        yield gauge("trainyard_workers", "Workers seen lately by device.", "device", {k: kinds.count(k) for k in kinds})
        yield GaugeMetricFamily("trainyard_event_watchers", "Open event streams of this process.", self.watchers)


def gauge(name: str, about: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    """A gauge with one label."""
    family = GaugeMetricFamily(name, about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


@final
class Counting:
    """ASGI middleware that notes every request once its first byte is sent."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.measures.note(scope, message["status"], time.perf_counter() - start)
            await send(message)

        await self.app(scope, receive, counted)
