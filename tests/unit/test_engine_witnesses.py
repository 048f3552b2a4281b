"""The engine hands what a sample can tell to the verdict."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otel_memleak.engine import Engine
from otel_memleak.kinds import KindsReader
from otel_memleak.probes import MallocReading, PageReading, Resident
from otel_memleak.routes.watch import RouteWatch
from otel_memleak.settings import resolve
from otel_memleak.surroundings import Surroundings
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB, LeakAlert, MemoryLimit


class Heard:
    def __init__(self) -> None:
        self.alerts: list[LeakAlert] = []

    def deliver(self, alert: LeakAlert) -> None:
        self.alerts.append(alert)

    def forget(self) -> None:
        self.alerts.clear()


class CountedRoutes(RouteWatch):
    """Ten requests a second, and no spans."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.retained_bytes: list[float] = []

    def start(self) -> None: ...

    def observe(self, time_s: float, retained_bytes: float) -> None:
        self.retained_bytes.append(retained_bytes)

    def requests(self) -> int:
        return int(10 * self._clock.monotonic_s())


def watched(
    resident: Callable[[float], Resident],
    malloc: Callable[[float], MallocReading],
    seconds: float,
    routes: CountedRoutes | None = None,
) -> list[LeakAlert]:
    """What an engine says of a process sampled every 250 ms."""
    clock, heard = routes._clock if routes is not None else ManualClock(), Heard()
    kinds = KindsReader(
        lambda: PageReading(0, (resident(clock.monotonic_s()).shared_bytes or 0), 0, 0, 1),
        lambda: malloc(clock.monotonic_s()),
        lambda: 0.0,
    )
    engine = Engine(
        resolve(
            {
                "tracemalloc": "off",
                "diagnosis": "off",
                "sampling_interval": 250,
                "baseline_window": 5000,
                "patience": 20000,
            }
        ),
        routes=routes or CountedRoutes(clock),
        delivery=heard,  # type: ignore[arg-type]
        surroundings=Surroundings(
            clock=clock,
            read_rss_bytes=lambda: resident(clock.monotonic_s()),
            read_limit=lambda configured: MemoryLimit(2000 * MB, "cgroup"),
            make_kinds=lambda: kinds,
        ),
    )
    for _ in range(int(4 * seconds)):
        engine.tick()
        clock.advance(0.25)
    return [alert for alert in heard.alerts if alert.event == "memleak.leak"]


def growing(time_s: float) -> Resident:
    return Resident(int((60 + 0.3 * time_s) * MB), 10 * MB)


def test_a_leak_is_told_with_the_bytes_of_a_request() -> None:
    """Requests counted beside memory become the rate that users think in."""
    (leak, *_) = watched(growing, lambda t: MallocReading(int((40 + 0.3 * t) * MB), MB), 60.0)

    assert leak.growth_bytes_per_request == pytest.approx(0.03 * MB, rel=0.05)
    assert "in use" in leak.why


def test_free_lists_and_file_pages_are_heard_of_by_the_verdict() -> None:
    """In the calm they are read seldom, and still no growth of theirs passes for a leak."""
    kept = watched(growing, lambda t: MallocReading(40 * MB, int((1 + 0.3 * t) * MB)), 120.0)
    files = watched(
        lambda t: Resident(int((60 + 0.3 * t) * MB), int((10 + 0.3 * t) * MB)),
        lambda t: MallocReading(40 * MB, MB),
        120.0,
    )

    assert kept == []
    assert files == []


def test_endpoints_are_asked_about_what_is_retained_and_not_about_free_lists() -> None:
    """What malloc keeps of freed memory is resident, and no endpoint's leak."""
    routes = CountedRoutes(ManualClock())
    watched(growing, lambda t: MallocReading(40 * MB, int((1 + 0.3 * t) * MB)), 60.0, routes)

    resident = growing(59.75).rss_bytes - growing(0.0).rss_bytes
    assert max(routes.retained_bytes) - min(routes.retained_bytes) < 0.2 * resident
