"""The engine with a manual clock and a scripted process: what it publishes and what it tells."""

from __future__ import annotations

import math
import os
import tracemalloc
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from opentelemetry.trace import SpanKind

from otel import InMemoryTelemetry
from otel_memleak import guard as guard_module
from otel_memleak.emission import Alerts, Metrics
from otel_memleak.engine import Engine
from otel_memleak.guard import Guard
from otel_memleak.routes.watch import RouteWatch
from otel_memleak.settings import resolve
from otel_memleak.surroundings import Surroundings
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB, LeakAlert, MemoryLimit


class Process:
    """A process whose memory follows a function of time, and the engine that watches it."""

    def __init__(
        self,
        rss_bytes: Callable[[float], float],
        limit: MemoryLimit | None = None,
        telemetry: InMemoryTelemetry | None = None,
        *,
        routes: bool = False,
        **settings: Any,
    ) -> None:
        self.clock = ManualClock()
        self.limit = limit
        self.heard: list[LeakAlert] = []
        self.guard = Guard()
        self.limit_reads = 0
        self._rss_bytes = rss_bytes
        surroundings = Surroundings(
            clock=self.clock,
            read_rss_bytes=lambda: int(self._rss_bytes(self.clock.monotonic_s())),
            read_limit=self._read_limit,
            make_kinds=None,
        )
        providers = telemetry.providers if telemetry is not None else None
        self.engine = Engine(
            resolve({"tracemalloc": "off", "diagnosis": "off", **settings}),
            Metrics(providers["meter_provider"]) if providers is not None else None,
            Alerts(("log", "span_event"), providers["tracer_provider"], providers["logger_provider"])
            if providers is not None
            else None,
            RouteWatch(providers["tracer_provider"], 60.0, self.guard) if providers and routes else None,
            self,
            surroundings,
            guard=self.guard,
        )

    def _read_limit(self, configured_bytes: int | None) -> MemoryLimit | None:
        self.limit_reads += 1
        return self.limit

    def deliver(self, alert: LeakAlert) -> None:
        self.heard.append(alert)

    def forget(self) -> None:
        self.heard.clear()

    def live(self, seconds: float) -> None:
        for _ in range(round(seconds / self.engine.settings.sampling_interval_seconds)):
            self.engine.tick()
            self.clock.advance(self.engine.settings.sampling_interval_seconds)


CGROUP = MemoryLimit(512 * MB, "cgroup")


def leaking(rate_mb_per_hour: float) -> Callable[[float], float]:
    return lambda t: (100 + rate_mb_per_hour * t / 3600) * MB


def test_a_leak_goes_from_samples_to_every_signal(telemetry: InMemoryTelemetry) -> None:
    """Sample, judge, publish, tell: one alert, counted, logged, marked and delivered under one id."""
    process = Process(leaking(60), CGROUP, telemetry)
    process.engine.start()
    process.engine._ticker.stop()

    process.live(6 * 3600)

    assert process.engine.status is not None
    assert process.engine.status.state == "leaking"
    assert process.engine.status.growth_bytes_per_hour == pytest.approx(60 * MB, rel=0.02)
    leaks = [alert for alert in process.heard if alert.event == "memleak.leak"]
    logged = [r.log_record for r in telemetry.logs() if r.log_record.event_name == "memleak.leak"]
    assert len(leaks) == len(logged) >= 1
    assert {dict(r.attributes or {})["memleak.alert.id"] for r in logged} == {leaks[0].id}
    assert sum(process.engine.alert_counts.values()) == sum(
        a.event != "memleak.resolved" for a in process.heard
    )
    counted = sum(p.value for p in telemetry.metrics()["memleak.alerts"])
    assert counted == sum(process.engine.alert_counts.values())
    process.engine.stop()


def test_onset_is_unix_time() -> None:
    """People read the onset on a wall clock, whatever the process's own clock does."""
    process = Process(lambda t: leaking(60)(max(0.0, t - 3600)), CGROUP)
    process.live(8 * 3600)

    onset_s = next(alert.onset_s for alert in process.heard if alert.event == "memleak.leak")

    assert onset_s == pytest.approx(ManualClock().unix_s() + 3600, abs=1800)


def test_a_sample_that_fails_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable /proc is counted; no RSS point is better than a wrong one; the next sample counts again."""
    monkeypatch.setattr(guard_module, "reraise", False)

    def rss_bytes(t: float) -> float:
        if 600 <= t < 660:
            raise PermissionError("hidepid")
        return 100 * MB

    process = Process(rss_bytes, CGROUP)
    process.live(600)
    process.live(60)
    assert process.engine.status is not None
    assert process.engine.status.sample.rss_bytes is None
    assert process.guard.errors == 1

    process.live(60)

    assert process.engine.status.sample.rss_bytes == 100 * MB
    assert len(process.engine.history) == 11


def test_a_limit_that_cannot_be_read_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cgroup file that vanishes must not end the sampling."""
    monkeypatch.setattr(guard_module, "reraise", False)
    process = Process(lambda t: 100 * MB)

    def vanish(configured_bytes: int | None) -> MemoryLimit | None:
        raise FileNotFoundError("memory.max")

    process.engine._surroundings = Surroundings(process.clock, lambda: 100 * MB, vanish)
    process.live(60)

    assert process.guard.errors == 1
    assert process.engine.status is not None
    assert process.engine.status.limit is None


def test_a_limit_that_changes_is_followed_but_not_read_at_every_sample() -> None:
    """Containers are resized in place; reading the cgroup costs more than a sample."""
    process = Process(lambda t: 100 * MB, CGROUP, sampling_interval=10_000)
    process.live(600)
    assert process.limit_reads == 1

    process.limit = MemoryLimit(1024 * MB, "cgroup")
    process.live(610)

    assert process.limit_reads <= 3
    assert process.engine.status is not None
    assert process.engine.status.limit == process.limit
    assert process.engine._detector is not None
    assert process.engine._detector.limit_bytes == 1024 * MB


@pytest.mark.parametrize(
    ("limit", "level_mb", "severities"),
    [
        (MemoryLimit(64 * 1024 * MB, "host"), 260, ["warning"]),
        (MemoryLimit(64 * 1024 * MB, "host"), 520, ["critical"]),
        (None, 260, ["warning"]),
        (CGROUP, 260, []),
        (CGROUP, 420, ["warning"]),
        (CGROUP, 470, ["critical"]),
    ],
)
def test_rss_thresholds_follow_the_limit_or_the_report(
    limit: MemoryLimit | None, level_mb: int, severities: list[str]
) -> None:
    """80 % and 90 % of a real limit; 256 and 512 MB where only the host's memory is known."""
    process = Process(lambda t: level_mb * MB, limit)

    process.live(1800)

    assert [a.severity for a in process.heard if a.event == "memleak.rss"][-1:] == severities


def test_an_alert_that_cannot_be_sent_is_still_delivered(
    telemetry: InMemoryTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken exporter or processor must not cost the user's callback its alert."""
    monkeypatch.setattr(guard_module, "reraise", False)
    process = Process(leaking(60), CGROUP, telemetry)

    def broken(*args: object) -> None:
        raise RuntimeError("processor")

    monkeypatch.setattr(process.engine._responder.alerts, "send", broken)
    process.live(6 * 3600)

    assert process.heard
    assert process.guard.errors == len(process.heard)


def test_tracemalloc_is_started_and_stopped_only_if_it_is_ours() -> None:
    """A trace the user started before us is still running after us."""
    ours = Process(lambda t: MB, tier="development", tracemalloc="on")
    ours.engine.start()
    assert tracemalloc.is_tracing()
    ours.engine.stop()
    assert not tracemalloc.is_tracing()

    tracemalloc.start()
    try:
        theirs = Process(lambda t: MB, tier="development", tracemalloc="on")
        theirs.engine.start()
        theirs.engine.stop()
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_a_development_sample_has_what_the_tier_promises() -> None:
    """Traced bytes, allocated blocks and tasks in the development tier; none of the costly ones otherwise."""
    process = Process(lambda t: MB, tier="development", tracemalloc="on")
    process.engine.start()
    process.engine._ticker.stop()
    process.engine.tick()
    status = process.engine.status
    process.engine.stop()

    assert status is not None
    assert status.sample.tracemalloc_current_bytes
    assert status.sample.allocated_blocks
    assert (status.sample.modules or 0) > 100

    production = Process(lambda t: MB)
    production.engine.tick()
    assert production.engine.status is not None
    assert production.engine.status.sample.tracemalloc_current_bytes is None
    assert production.engine.status.sample.asyncio_tasks is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_inherits_nothing_of_the_parents_record() -> None:
    """History, counts, errors and verdict are the parent's; the child's memory has yet to be watched."""
    process = Process(leaking(20), CGROUP)
    process.live(14 * 3600)
    process.guard.errors = 3
    process.engine.start()

    pid = os.fork()
    if pid == 0:
        engine = process.engine
        clean = engine.alert_counts == {} and engine.swallowed_errors == 0 and len(engine.history) <= 1
        fresh = engine.status is None or engine.status.state == "warming_up"
        os._exit(0 if clean and fresh and process.heard == [] else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    process.engine.stop()

    assert code == 0
    assert process.engine.alert_counts


def test_exclusions_are_shell_patterns() -> None:
    """The same semantics as the system-metrics instrumentation's exclusions."""
    engine = Process(lambda t: MB, excluded_metrics="memleak.tracemalloc.*,memleak.state").engine

    assert engine.excludes("memleak.tracemalloc.peak")
    assert engine.excludes("memleak.state")
    assert not engine.excludes("memleak.process.rss")


def test_a_clock_that_stands_still_or_goes_back_is_survived() -> None:
    """Time is an input like any other."""
    process = Process(lambda t: 100 * MB, CGROUP)
    for _ in range(100):
        process.engine.tick()

    assert process.engine.status is not None
    assert not math.isnan(process.engine.status.growth_bytes_per_hour)


def test_a_diagnosis_beyond_the_budget_waits_until_it_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leak is told at once; what holds it is looked for when the budget allows, if it leaks still."""
    process = Process(
        leaking(2000), CGROUP, sampling_interval=250, baseline_window=5000, patience=20_000, diagnosis="on"
    )
    looked: list[str] = []

    class Diagnoser:
        cpu_time_s = 0.0
        states: ClassVar[list[str]] = []

        def observe(self, sample: object, state: str, limit_bytes: object) -> None:
            self.states.append(state)

        def investigate(self, alert: LeakAlert) -> None:
            looked.append(alert.id)

    diagnoser = Diagnoser()
    monkeypatch.setattr(process.engine._responder, "_diagnoser", diagnoser)
    process.live(1)
    diagnoser.cpu_time_s = 1000.0
    process.live(60)

    assert [alert.event for alert in process.heard][:1] == ["memleak.leak"]
    assert looked == []
    assert "suspect" not in Diagnoser.states, "a mere suspicion is not looked into either"

    process.clock.advance(100_000)
    process.live(1)

    assert looked == [process.heard[0].id]


def test_samples_beyond_the_budget_are_spaced_out() -> None:
    """The thread waits longer when what it does has become dear."""
    used_s = [0.0]
    process = Process(leaking(0), sampling_interval=1000)
    process.engine._surroundings.cpu_clock_s = lambda: used_s.append(used_s[-1] + 0.1) or used_s[-1]

    process.live(120)

    assert process.engine._ticker._interval_s == pytest.approx(10.0)


def test_a_quiet_service_leaves_nothing_behind_in_us(telemetry: InMemoryTelemetry) -> None:
    """A few requests between two samples, for ever: what is remembered of those that have ended stays little."""
    process = Process(leaking(0), CGROUP, telemetry, routes=True)
    tracer = telemetry.providers["tracer_provider"].get_tracer("shop")

    for _ in range(300):
        process.live(60)
        for _ in range(20):
            tracer.start_span("GET /a", kind=SpanKind.SERVER).end()

    inflight = process.engine._responder.alerts._inflight  # type: ignore[union-attr]
    assert inflight is not None
    assert len(inflight._opened.refs) < 200


@pytest.mark.parametrize(("requests", "attended"), [(100, {False}), (20, {True})])
def test_a_leak_is_marked_on_the_requests_in_flight_however_busy_the_service(
    telemetry: InMemoryTelemetry, requests: int, attended: set[bool]
) -> None:
    """While nothing is suspected a busy service is not looked at when requests begin; by the alert it is again."""
    process = Process(lambda t: leaking(60)(max(0.0, t - 7200)), CGROUP, telemetry, routes=True)
    process.engine._follow_providers()
    inflight = process.engine._responder.alerts._inflight  # type: ignore[union-attr]
    assert inflight is not None
    tracer = telemetry.providers["tracer_provider"].get_tracer("shop")
    calm: set[bool] = set()

    while not process.heard:
        under_way = tracer.start_span("GET /slow", kind=SpanKind.SERVER)
        for _ in range(requests - 1):
            tracer.start_span("GET /a", kind=SpanKind.SERVER).end()
        process.live(60)
        if 600 < process.clock.monotonic_s() < 7200:
            calm.add(inflight._entries.attentive)
        under_way.end()

    assert calm == attended
    (marked,) = (span for span in telemetry.spans() if span.name == "GET /slow" and span.events)
    assert [event.name for event in marked.events] == ["memleak.leak"]


@pytest.mark.parametrize(("rss_mb", "attended"), [(100, False), (480, True)])
def test_near_the_limit_requests_are_remembered_from_their_beginning(
    telemetry: InMemoryTelemetry, rss_mb: int, attended: bool
) -> None:
    """Last words may be said at any sample then, without a suspicion before."""
    process = Process(lambda t: rss_mb * MB, CGROUP, telemetry, routes=True)
    process.engine._follow_providers()
    inflight = process.engine._responder.alerts._inflight  # type: ignore[union-attr]
    assert inflight is not None
    tracer = telemetry.providers["tracer_provider"].get_tracer("shop")

    for _ in range(30):
        for _ in range(100):
            tracer.start_span("GET /a", kind=SpanKind.SERVER).end()
        process.live(60)

    assert inflight._entries.attentive is attended
