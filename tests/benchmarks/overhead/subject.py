"""What is measured: a production engine as ``instrument()`` makes it, without its thread and its waiting."""

from __future__ import annotations

from itertools import count

from otel_memleak.emission import Alerts, Metrics
from otel_memleak.engine import Engine
from otel_memleak.guard import Guard
from otel_memleak.probes import RssProbe
from otel_memleak.routes.watch import RouteWatch
from otel_memleak.settings import resolve
from otel_memleak.surroundings import Surroundings
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB

INTERVAL_S = 60.0


class MinuteByMinute(ManualClock):
    """Time as the sampling thread sees it, without the waiting: a minute between two samples."""

    def unix_s(self) -> float:
        """A minute later than the last time."""
        self.advance(INTERVAL_S)
        return super().unix_s()


class CalmProcess:
    """Resident memory really read, and then a level told that breathes a little and does not grow.

    What the detector has to do depends on the series: the benchmark's own memory would make two runs differ.
    """

    def __init__(self) -> None:
        self._read = RssProbe().read
        self._samples = count()

    def read(self) -> int:
        """The scripted level, in bytes."""
        self._read()
        return 100 * MB + (next(self._samples) * 7919 % 13) * 300_000


def make_engine() -> Engine:
    """An engine with the SDK behind it and everything on that is on by default."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    spans, guard = TracerProvider(), Guard()
    engine = Engine(
        # The budget is wide: the clock is not the real one, and the thread is not the engine's alone.
        resolve({"sampling_interval": INTERVAL_S * 1000, "overhead_budget": 100}),
        Metrics(MeterProvider(metric_readers=[InMemoryMetricReader()])),
        Alerts(("log", "span_event"), spans),
        RouteWatch(spans, INTERVAL_S, guard),
        surroundings=Surroundings(MinuteByMinute(), CalmProcess().read),
        guard=guard,
    )
    engine.start()
    engine._ticker.stop()
    return engine
