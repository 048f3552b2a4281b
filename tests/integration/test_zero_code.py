"""The whole way: a real service under the real launcher, everything received over OTLP."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import combinations
from statistics import median

import pytest

from otel_memleak.cli._telemetry import LogRecord
from otel_memleak.cli.receiver import OtlpReceiver
from otel_memleak.semconv import METRICS
from processes import Service

LEAK_S = 60.0
"""A leak of 200 KB/s has to be found within this."""

QUIET_S = 45.0
"""As long the healthy twin is watched here; the slow test below watches it for longer."""


class Services:
    """Two leaking services, one per protocol, one more to be ended, and a healthy one, side by side."""

    def __init__(self) -> None:
        self.grpc = Service("service.py", "leaky", "120", protocol="grpc")
        self.http = Service(
            "service.py", "leaky", "120", OTEL_PYTHON_MEMLEAK_TIER="development",
            OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT="512",
        )  # fmt: skip
        self.ended = Service("service.py", "leaky", "120", protocol="grpc")
        self.healthy = Service("service.py", "healthy", str(QUIET_S))

    def close(self) -> None:
        for service in (self.grpc, self.http, self.ended, self.healthy):
            service.close()


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    services = Services()
    yield services
    services.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_leak_is_told_as_log_record_and_span_event_with_one_id(services: Services, protocol: str) -> None:
    """The product in one test: the process itself says that it leaks, within a minute, over the wire."""
    service: Service = getattr(services, protocol)
    receiver = service.receiver

    log = receiver.wait_for(lambda: receiver.logs("memleak.leak"), timeout_s=LEAK_S)[0]
    span = receiver.wait_for(lambda: receiver.spans("memleak.leak"), timeout_s=10)[0]

    alert_id = log.attributes["memleak.alert.id"]
    assert [event.name for event in span.events] == ["memleak.leak"]
    assert span.events[0].attributes == log.attributes
    assert span.events[0].attributes["memleak.alert.id"] == alert_id
    assert (span.trace_id, span.span_id) == (log.trace_id, log.span_id)
    assert log.severity_number in (13, 17)
    assert log.body.startswith("RSS grew")
    rate = log.attributes["memleak.growth.rate"]
    assert isinstance(rate, float)
    assert rate > 0.5 * 200_000 * 3600
    # What else grows in a busy process (the SDK's queues, tracemalloc's records) is in both figures.
    assert 0.6 < rate / exported_rate(receiver, log) < 1.6


def exported_rate(receiver: OtlpReceiver, alert: LogRecord) -> float:
    """Growth since the onset as anybody can read it off the exported gauge, bytes per hour.

    The median of the slopes between any two points: what a process loads at its start is one step, which
    would be most of the growth between the first point and the last when the alert comes early.
    """
    onset, until_ns = alert.attributes["memleak.growth.onset"], alert.time_unix_ns
    assert isinstance(onset, float)
    points = [
        (point.time_unix_ns, point.value)
        for point in receiver.metrics("memleak.process.rss")
        if point.value is not None and onset * 1e9 <= point.time_unix_ns <= until_ns
    ]
    return median((b - a) / ((t - s) / 3.6e12) for (s, a), (t, b) in combinations(points, 2) if t > s)


def test_the_alert_is_followed_by_the_name_of_what_leaks(services: Services) -> None:
    """The holder, by a path that can be searched for in the source; no key, no value of what it holds."""
    receiver = services.grpc.receiver
    leak = receiver.wait_for(lambda: receiver.logs("memleak.leak"), timeout_s=LEAK_S)[0]

    def with_a_holder() -> list[LogRecord]:
        """On a slow machine the origin is told first, in a diagnosis of its own."""
        return [
            log for log in receiver.logs("memleak.diagnosis") if log.attributes.get("memleak.suspect.owner")
        ]

    diagnosis = receiver.wait_for(with_a_holder, timeout_s=QUIET_S)[0]

    assert diagnosis.attributes["memleak.alert.id"] == leak.attributes["memleak.alert.id"]
    assert diagnosis.attributes["memleak.origin"] == "python"
    assert diagnosis.attributes["memleak.suspect.owner"][0] == "__main__:main.<locals>.cache"
    assert diagnosis.attributes["memleak.suspect.type"][0] == "bytearray"

    receiver.wait_for(lambda: receiver.spans("memleak.diagnosis"), timeout_s=30)


def test_every_metric_of_the_contract_arrives(services: Services) -> None:
    """In the development tier all of them have something to say."""
    receiver = services.http.receiver
    receiver.wait_for(lambda: receiver.metrics("memleak.time_to_limit"), timeout_s=LEAK_S)

    for metric in METRICS:
        points = receiver.metrics(metric.name)
        assert points, metric.name
        assert {p.unit for p in points} == {metric.unit}
        assert {p.scope.name for p in points} == {"otel_memleak"}


def test_metrics_arrive_over_the_default_protocol_too(services: Services) -> None:
    """The distro uses gRPC when nothing is said."""
    receiver = services.grpc.receiver

    receiver.wait_for(lambda: receiver.metrics("memleak.process.rss"), timeout_s=LEAK_S)

    sources = {p.attributes["memleak.limit.source"] for p in receiver.metrics("memleak.process.limit")}
    assert sources <= {"cgroup", "rlimit", "configured", "host"}
    assert sources


def test_the_configured_limit_is_the_one_reported(services: Services) -> None:
    """What the user says wins over what the host says."""
    receiver = services.http.receiver
    receiver.wait_for(lambda: receiver.metrics("memleak.process.limit"), timeout_s=LEAK_S)

    (point,) = {
        (p.value, p.attributes["memleak.limit.source"]) for p in receiver.metrics("memleak.process.limit")
    }

    assert point == (512 * 1024 * 1024, "configured")


def test_the_healthy_twin_stays_quiet(services: Services) -> None:
    """Same churn, bounded cache: measured, and not accused."""
    service = services.healthy

    assert service.finish(timeout_s=QUIET_S + 30) == 0

    assert service.receiver.metrics("memleak.process.rss")
    assert service.receiver.logs("memleak.leak") == []
    assert service.receiver.spans("memleak.leak") == []
    assert "Traceback" not in service.output


def test_termination_is_immediate(services: Services) -> None:
    """A watched service ends on SIGTERM like an unwatched one: by the signal, with nothing printed.

    One that nobody else asks: tests come in any order, and what they wait for would not be sent any more.
    """
    service, receiver = services.ended, services.ended.receiver
    receiver.wait_for(lambda: receiver.logs("memleak.diagnosis"), timeout_s=LEAK_S + 45)

    status = service.finish(signal.SIGTERM, timeout_s=5)

    assert status == -signal.SIGTERM
    assert "Traceback" not in service.output


@pytest.mark.slow
def test_the_healthy_twin_stays_quiet_for_three_minutes() -> None:
    """As above, for as long as the promise says."""
    with Service("service.py", "healthy", "180") as service:
        assert service.finish(timeout_s=240) == 0
        assert service.receiver.metrics("memleak.process.rss")
        assert service.receiver.logs("memleak.leak") == []
