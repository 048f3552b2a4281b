"""Alerts through the real SDK: log record, root span, spans in flight, and the fallback without an SDK."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import types
from dataclasses import replace
from typing import ClassVar

import pytest
from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, NoOpTracerProvider, SpanContext, TraceFlags

from otel import InMemoryTelemetry
from otel_memleak.emission import log_records
from otel_memleak.emission.alerts import MARKED_SPANS, Alerts
from otel_memleak.emission.attributes import alert_attributes, diagnosis_attributes
from otel_memleak.emission.inflight import CAPACITY, InflightSpans, attach
from otel_memleak.emission.metrics import Metrics
from otel_memleak.emission.notice import Notice
from otel_memleak.status import Status
from otel_memleak.types import MB, Diagnosis, LeakAlert, RouteSuspect, Sample, Suspect

LEAK = LeakAlert(
    event="memleak.leak",
    id="abc",
    severity="warning",
    reason="forecast",
    time_s=1000.0,
    rss_bytes=100.5 * MB,
    baseline_bytes=90.0 * MB,
    growth_bytes_per_hour=12.0 * MB,
    growth_bytes_per_hour_low=11.0 * MB,
    growth_bytes_per_hour_high=13.0 * MB,
    confidence=0.9,
    onset_s=400.0,
    growth_bytes=2.5 * MB,
    limit_bytes=512.0 * MB,
    time_to_limit_s=3600,
    pattern="linear",
)
BOTH = ("log", "span_event")


class Warned:
    """An engine that has sent one warning."""

    status = Status(Sample(1.0, 1), None, "leaking", None, 0.0, None, 1, 0.0)
    alert_counts: ClassVar = {("warning", "forecast"): 1}
    swallowed_errors = 0

    def excludes(self, metric_name: str) -> bool:
        return False

    def ensure_alive(self) -> None:
        pass


def sender(telemetry: InMemoryTelemetry, targets: tuple[str, ...] = BOTH) -> Alerts:
    alerts = Alerts(targets, telemetry.tracer_provider, telemetry.logger_provider)  # type: ignore[arg-type]
    alerts.watch_spans()
    return alerts


def test_a_leak_carries_the_contracts_attributes_and_types() -> None:
    """Rates and times are doubles, byte counts integers, nothing nested, nothing more than promised."""
    assert alert_attributes(LEAK) == {
        "memleak.alert.id": "abc",
        "memleak.alert.severity": "warning",
        "memleak.alert.reason": "forecast",
        "memleak.growth.rate": 12.0 * MB,
        "memleak.growth.rate.low": 11.0 * MB,
        "memleak.growth.rate.high": 13.0 * MB,
        "memleak.growth.pattern": "linear",
        "memleak.confidence": 0.9,
        "memleak.growth.bytes": int(2.5 * MB),
        "memleak.growth.onset": 400.0,
        "memleak.process.rss": int(100.5 * MB),
        "memleak.process.baseline": 90 * MB,
        "memleak.process.limit": 512 * MB,
        "memleak.time_to_limit": 3600.0,
    }
    assert type(alert_attributes(LEAK)["memleak.time_to_limit"]) is float
    assert type(alert_attributes(LEAK)["memleak.process.rss"]) is int


def test_before_loggers_took_fields_they_get_a_record_with_the_resource(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Applications stay on old releases for years: there a logger takes one record, of the SDK's class."""
    records: list[types.SimpleNamespace] = []
    sdk = types.ModuleType("opentelemetry.sdk._logs")
    sdk.LogRecord = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, sdk.__name__, sdk)
    proxy = types.SimpleNamespace(_logger=types.SimpleNamespace(resource="shop"), emit=records.append)

    log_records.emit(
        proxy,  # type: ignore[arg-type]
        timestamp_ns=5,
        context=Context(),
        severity=SeverityNumber.WARN,
        body="it grows",
        attributes={"memleak.alert.id": "abc"},
        event_name="memleak.leak",
        takes_fields=False,
    )

    [record] = records
    assert (record.event_name, record.resource, record.timestamp) == ("memleak.leak", "shop", 5)
    assert (record.severity_number, record.body) == (SeverityNumber.WARN, "it grows")


def test_a_leak_says_what_kind_of_memory_grows_when_that_is_known() -> None:
    """An origin is a claim about a leak; where nobody knows, the attribute is absent."""
    crossed = replace(LEAK, event="memleak.rss", reason="rss")

    assert alert_attributes(LEAK, (), "native")["memleak.origin"] == "native"
    assert "memleak.origin" not in alert_attributes(crossed, (), "native")
    assert "memleak.origin" not in alert_attributes(LEAK)


def test_unknown_values_are_absent() -> None:
    """A leak without a limit has no limit of zero."""
    attributes = alert_attributes(replace(LEAK, limit_bytes=None, time_to_limit_s=None, baseline_bytes=None))

    assert {"memleak.process.limit", "memleak.time_to_limit", "memleak.process.baseline"}.isdisjoint(
        attributes
    )


@pytest.mark.parametrize(
    ("event", "absent"),
    [
        ("memleak.rss", {"memleak.growth.rate", "memleak.growth.pattern", "memleak.confidence"}),
        ("memleak.resolved", {"memleak.alert.severity", "memleak.alert.reason", "memleak.process.rss"}),
    ],
)
def test_other_events_carry_only_their_own_attributes(event: str, absent: set[str]) -> None:
    """An RSS alert claims no growth; a resolved one has no severity of its own."""
    attributes = alert_attributes(replace(LEAK, event=event))  # type: ignore[arg-type]

    assert absent.isdisjoint(attributes)
    assert attributes["memleak.alert.id"] == "abc"


def test_one_alert_is_a_log_record_and_a_span_event_with_the_same_attributes(
    telemetry: InMemoryTelemetry,
) -> None:
    """Whoever sees either signal finds the other: same name, id and attributes, log inside the span."""
    sender(telemetry).send(Notice.of_alert(LEAK, "cgroup", 1234.5))

    (span,) = telemetry.spans()
    (log,) = telemetry.logs()
    record = log.log_record
    assert span.name == span.events[0].name == record.event_name == "memleak.leak"
    assert dict(span.events[0].attributes or {}) == dict(record.attributes or {}) == alert_attributes(LEAK)
    assert span.events[0].timestamp == record.timestamp == 1_234_500_000_000
    assert span.parent is None
    assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
    assert str(record.body).startswith("RSS grew 12.0 MB/h")
    assert "cgroup limit" in str(record.body)


@pytest.mark.parametrize(
    ("event", "severity", "number", "status"),
    [
        ("memleak.leak", "warning", 13, "UNSET"),
        ("memleak.leak", "critical", 17, "ERROR"),
        ("memleak.rss", "critical", 17, "ERROR"),
        ("memleak.resolved", "critical", 9, "UNSET"),
    ],
)
def test_severity_decides_log_level_and_span_status(
    telemetry: InMemoryTelemetry, event: str, severity: str, number: int, status: str
) -> None:
    """WARN and ERROR as the contract has them; only what is critical turns a span red."""
    alert = replace(LEAK, event=event, severity=severity)  # type: ignore[arg-type]
    sender(telemetry).send(Notice.of_alert(alert, None, 1.0))

    assert telemetry.logs()[0].log_record.severity_number.value == number  # type: ignore[union-attr]
    assert telemetry.spans()[0].status.status_code.name == status


def test_open_local_roots_get_the_event_and_are_linked(telemetry: InMemoryTelemetry) -> None:
    """The alert is seen inside the request that was running, whose child spans are left alone."""
    alerts = sender(telemetry)
    tracer = telemetry.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("request"), tracer.start_as_current_span("query"):
        alerts.send(Notice.of_alert(LEAK, None, 1.0))

    spans = {span.name: span for span in telemetry.spans()}
    assert [e.name for e in spans["request"].events] == ["memleak.leak"]
    assert dict(spans["request"].events[0].attributes or {}) == alert_attributes(LEAK)
    assert list(spans["query"].events) == []
    assert [link.context for link in spans["memleak.leak"].links] == [spans["request"].context]


def test_the_alert_is_never_a_child_of_the_current_span(telemetry: InMemoryTelemetry) -> None:
    """A thread may inherit a request's context: the alert must still be a trace of its own."""
    alerts = sender(telemetry)
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("request"):
        alerts.send(Notice.of_alert(LEAK, None, 1.0))

    spans = {span.name: span for span in telemetry.spans()}
    assert spans["memleak.leak"].parent is None
    assert spans["memleak.leak"].context.trace_id != spans["request"].context.trace_id


def test_a_span_continuing_a_remote_trace_is_a_local_root(telemetry: InMemoryTelemetry) -> None:
    """A service behind another one has no spans without a parent, but it has entry points."""
    alerts = sender(telemetry)
    remote = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1)))
    context = trace.set_span_in_context(remote, Context())
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("request", context=context):
        alerts.send(Notice.of_alert(LEAK, None, 1.0))

    spans = {span.name: span for span in telemetry.spans()}
    assert [e.name for e in spans["request"].events] == ["memleak.leak"]


def test_only_the_longest_running_spans_are_marked(telemetry: InMemoryTelemetry) -> None:
    """A thousand requests in flight do not make a thousand events."""
    alerts = sender(telemetry)
    tracer = telemetry.tracer_provider.get_tracer("app")
    spans = [tracer.start_span(f"r{i}", context=Context(), start_time=1000 + i) for i in range(20)]

    alerts.send(Notice.of_alert(LEAK, None, 1.0))

    marked = [span.name for span in spans if span.events]  # type: ignore[attr-defined]
    assert marked == [f"r{i}" for i in range(MARKED_SPANS)]


def test_spans_that_are_never_ended_are_neither_kept_nor_counted() -> None:
    """A service that forgets to end spans must not find them in us."""
    provider = TracerProvider()
    inflight = attach(provider)
    assert isinstance(inflight, InflightSpans)
    inflight.enabled = True
    tracer = provider.get_tracer("app")

    for _ in range(3 * CAPACITY):
        tracer.start_span("forgotten", context=Context())
    gc.collect()
    assert inflight.longest_running(10) == []
    kept = [tracer.start_span("kept", context=Context()) for _ in range(3)]

    assert len(inflight) <= CAPACITY
    assert inflight.longest_running(10) == kept


def test_open_spans_beyond_the_capacity_are_not_remembered() -> None:
    """However many requests are in flight, the memory for them is bounded."""
    provider = TracerProvider()
    inflight = attach(provider)
    assert inflight is not None
    inflight.enabled = True
    tracer = provider.get_tracer("app")

    spans = [tracer.start_span("open", context=Context()) for _ in range(CAPACITY + 10)]

    assert len(inflight) == CAPACITY
    for span in spans:
        span.end()
    assert len(inflight) == 0


def test_a_long_request_is_remembered_however_many_come_and_go() -> None:
    """The one that hangs is the one to look at, and those that have ended take no room."""
    provider = TracerProvider(shutdown_on_exit=False)
    inflight = attach(provider)
    assert inflight is not None
    inflight.enabled = True
    tracer = provider.get_tracer("app")

    hanging = tracer.start_span("hanging", context=Context())
    for _ in range(3000):
        tracer.start_span("quick", context=Context()).end()

    assert len(inflight._opened.refs) <= 300
    assert inflight.longest_running(5) == [hanging]


def test_no_open_request_is_lost_while_others_begin() -> None:
    """Sweeping makes room while other threads append: what is open stays known."""
    provider = TracerProvider(shutdown_on_exit=False)
    inflight = attach(provider)
    assert inflight is not None
    inflight.enabled = True
    tracer = provider.get_tracer("app")
    kept: list[Span] = []

    def serve() -> None:
        for number in range(2000):
            span = tracer.start_span("request", context=Context())
            if number % 100 == 0:
                kept.append(span)  # type: ignore[arg-type]
            else:
                span.end()

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        inflight.longest_running(1)
        thread.join()

    assert set(map(id, inflight.longest_running(1000))) == set(map(id, kept))


def test_a_closed_sender_remembers_nothing(telemetry: InMemoryTelemetry) -> None:
    """The SDK keeps the processor for ever: after uninstrument it holds and does nothing."""
    alerts = sender(telemetry)
    span = telemetry.tracer_provider.get_tracer("app").start_span("request", context=Context())
    inflight = attach(telemetry.tracer_provider)
    assert inflight is not None
    assert len(inflight) == 1

    alerts.close()
    telemetry.tracer_provider.get_tracer("app").start_span("later", context=Context())

    assert len(inflight) == 0
    span.end()


def test_one_processor_per_provider(telemetry: InMemoryTelemetry) -> None:
    """The SDK cannot remove processors: a hundred instrument() calls must add one."""
    processors = {attach(telemetry.tracer_provider) for _ in range(100)}

    assert len(processors) == 1


@pytest.mark.parametrize("target", ["log", "span_event"])
def test_targets_are_honoured(telemetry: InMemoryTelemetry, target: str) -> None:
    """Only the signals that were asked for are sent."""
    sender(telemetry, (target,)).send(Notice.of_alert(LEAK, None, 1.0))

    assert (len(telemetry.logs()), len(telemetry.spans())) == ((1, 0) if target == "log" else (0, 1))


def test_without_an_sdk_the_alert_is_a_line_of_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    """No backend is no reason for silence: one line, with the sentence, at the alert's level."""
    alerts = Alerts(BOTH, NoOpTracerProvider(), NoOpLoggerProvider())
    alerts.watch_spans()

    alerts.send(Notice.of_alert(LEAK, "cgroup", 1.0))

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("otel_memleak", logging.WARNING)
    assert record.getMessage().startswith("memleak.leak: RSS grew 12.0 MB/h")


def test_a_provider_without_processors_is_as_good_as_none(
    telemetry: InMemoryTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """The bare SDK configures a logger provider that goes nowhere: the line is still written."""
    Alerts(("log",), telemetry.tracer_provider, LoggerProvider()).send(Notice.of_alert(LEAK, None, 1.0))

    assert len(caplog.records) == 1


def test_an_alert_that_arrived_is_not_repeated_on_the_log(
    telemetry: InMemoryTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """With the logging bridge on, a second line would be a second record at the backend."""
    sender(telemetry).send(Notice.of_alert(LEAK, None, 1.0))

    assert caplog.records == []


def test_no_targets_means_no_signal(telemetry: InMemoryTelemetry, caplog: pytest.LogCaptureFixture) -> None:
    """``none`` is a wish to be left alone."""
    sender(telemetry, ()).send(Notice.of_alert(LEAK, None, 1.0))

    assert (telemetry.logs(), telemetry.spans(), caplog.records) == ((), (), [])


def test_a_processor_is_a_real_one(telemetry: InMemoryTelemetry) -> None:
    """The SDK calls private hooks of its base class: a duck-typed processor breaks the user's span.end()."""
    inflight = attach(telemetry.tracer_provider)
    assert inflight is not None
    inflight.enabled = True
    span = telemetry.tracer_provider.get_tracer("app").start_span("request")
    assert isinstance(span, Span)

    span.end()

    assert telemetry.tracer_provider.force_flush()
    assert all(processor.force_flush() is True for processor in processors_of(telemetry)), (
        "what old SDKs want"
    )


def processors_of(telemetry: InMemoryTelemetry) -> tuple[SpanProcessor, ...]:
    return telemetry.tracer_provider._active_span_processor._span_processors


def test_a_diagnosis_is_parallel_arrays_under_the_alerts_id() -> None:
    """Backends know only flat values: cells of one suspect stand at one index, unknown ones are empty."""
    diagnosis = Diagnosis(
        alert_id="abc", time_s=1.0, origin="python",
        suspects=(
            Suspect("shop.Session", "shop.cache:_sessions", "", 4.0 * MB, 4321.0, 0.9),
            Suspect("", "", "shop/views.py:88", 1.0 * MB),
        ),
        routes=(RouteSuspect("GET /cart", 9600.0, 9000.0, 10000.0),),
    )  # fmt: skip

    assert diagnosis_attributes(diagnosis) == {
        "memleak.alert.id": "abc",
        "memleak.origin": "python",
        "memleak.suspect.type": ["shop.Session", ""],
        "memleak.suspect.owner": ["shop.cache:_sessions", ""],
        "memleak.suspect.site": ["", "shop/views.py:88"],
        "memleak.suspect.growth": [4.0 * MB, 1.0 * MB],
        "memleak.suspect.route": ["GET /cart"],
        "memleak.suspect.route.bytes_per_call": [9600.0],
    }


def test_a_diagnosis_names_at_most_five(telemetry: InMemoryTelemetry) -> None:
    """The sixth suspect helps nobody; attributes stay bounded."""
    suspects = tuple(Suspect(type=f"T{i}", growth_bytes_per_hour=float(9 - i)) for i in range(9))
    notice = Notice.of_diagnosis(Diagnosis("abc", 1.0, "unknown", suspects), 1.0)

    sender(telemetry).send(notice)

    (log,) = telemetry.logs()
    attributes = dict(log.log_record.attributes or {})
    assert log.log_record.event_name == "memleak.diagnosis"
    assert list(attributes["memleak.suspect.type"]) == ["T0", "T1", "T2", "T3", "T4"]  # type: ignore[arg-type]
    assert telemetry.spans()[0].name == "memleak.diagnosis"


def test_requests_that_leak_are_linked_from_the_alert(telemetry: InMemoryTelemetry) -> None:
    """One click leads from the alert to a request of the guilty route, ended long ago."""
    related = SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1))

    sender(telemetry).send(Notice.of_alert(LEAK, None, 1.0), (related,))

    assert [link.context for link in telemetry.spans()[0].links] == [related]


def counted(telemetry: InMemoryTelemetry, alerts: Alerts) -> list[tuple[int, int]]:
    """Trace and span ids of the exemplars of ``memleak.alerts`` after a warning."""
    metrics = Metrics(telemetry.meter_provider)
    assert metrics.bind(Warned(), alerts.exemplars)
    points = telemetry.metrics()["memleak.alerts"]
    metrics.unbind()
    return [(one.trace_id, one.span_id) for point in points for one in point.exemplars]


def test_the_count_of_alerts_leads_to_the_alert_until_it_is_over(telemetry: InMemoryTelemetry) -> None:
    """One click on the dot in Grafana opens the alert's trace, whose links open requests that leak."""
    alerts = sender(telemetry)
    before = counted(telemetry, alerts)
    alerts.send(Notice.of_alert(LEAK, None, 1.0))
    during = counted(telemetry, alerts)
    alerts.send(Notice.of_alert(replace(LEAK, event="memleak.resolved", id="another"), None, 2.0))
    still = counted(telemetry, alerts)
    alerts.send(Notice.of_alert(replace(LEAK, event="memleak.resolved"), None, 3.0))

    context = telemetry.spans()[0].context
    assert (before, during) == ([], [(context.trace_id, context.span_id)])
    assert (still, counted(telemetry, alerts)) == (during, [])


def test_a_child_does_not_lead_to_the_alerts_of_its_parent(telemetry: InMemoryTelemetry) -> None:
    """Counts are never inherited over a fork, and neither is where they lead."""
    alerts = sender(telemetry)
    alerts.send(Notice.of_alert(LEAK, None, 1.0))
    alerts.after_fork_in_child()

    assert counted(telemetry, alerts) == []


def test_an_alert_dropped_by_head_sampling_leads_to_a_request_that_leaks(
    telemetry: InMemoryTelemetry,
) -> None:
    """Its span and its links are lost, but requests of the guilty route were sampled: log and count lead there."""
    related = SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1))
    dropping = TracerProvider(sampler=ALWAYS_OFF)
    alerts = Alerts(("log", "span_event"), dropping, telemetry.logger_provider)

    alerts.send(Notice.of_alert(LEAK, None, 1.0), (related,))

    (log,) = telemetry.logs()
    assert (log.log_record.trace_id, log.log_record.span_id) == (7, 9)
    assert counted(telemetry, alerts) == [(7, 9)]


def test_where_nothing_is_sampled_a_count_leads_nowhere(telemetry: InMemoryTelemetry) -> None:
    """An exemplar that opens no trace is worse than none."""
    alerts = Alerts(("log", "span_event"), TracerProvider(sampler=ALWAYS_OFF), telemetry.logger_provider)

    alerts.send(Notice.of_alert(LEAK, None, 1.0))

    assert counted(telemetry, alerts) == []
