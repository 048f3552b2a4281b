"""What the views show: each process as its own telemetry describes it, as it arrived over the wire.

Nothing is measured or judged here; a view of this package can only show what the process itself exported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from otel_memleak import semconv
from otel_memleak.cli.receiver import Attributes, LogRecord, MetricPoint, OtlpReceiver, Process

_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one process: its log record, and the spans that carry the same event.

    Attributes:
        record: The log record as received.
        alert_spans: Span events with the same alert id on root spans of their own.
        application_spans: Names of the application's spans that carry it.
    """

    record: LogRecord
    alert_spans: int = 0
    application_spans: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The event name, e.g. ``memleak.leak``."""
        return self.record.event_name

    @property
    def body(self) -> str:
        """The sentence for people."""
        return str(self.record.body or "")

    @property
    def alert_id(self) -> str:
        """What joins everything said about one incident."""
        return str(self.record.attributes.get(semconv.ALERT_ID, ""))

    @property
    def severity(self) -> str:
        """``warning``, ``critical`` or empty."""
        return str(self.record.attributes.get(semconv.ALERT_SEVERITY, ""))

    @property
    def time_s(self) -> float:
        """Unix time, in seconds."""
        return self.record.time_unix_ns / _NS_PER_S

    @property
    def on_spans(self) -> bool:
        """Whether the event has arrived on a span as well."""
        return bool(self.alert_spans or self.application_spans)

    def number(self, key: str) -> float | None:
        """Returns a numeric attribute; None when it is absent."""
        return _number(self.record.attributes, key)


@dataclass(frozen=True, slots=True)
class Picture:
    """One process, now.

    Attributes:
        process: Who it is.
        rss: Unix time in seconds and resident memory in bytes, oldest first.
        state: As last exported; empty before that.
        limit_bytes: The limit it reports; None when it knows none.
        limit_source: Who set that limit.
        growth_bytes_per_hour: Rate as last exported; None before that.
        time_to_limit_s: As last exported; None while it is not growing.
        events: Its events, oldest first.
    """

    process: Process
    rss: tuple[tuple[float, float], ...] = ()
    state: str = ""
    limit_bytes: float | None = None
    limit_source: str = ""
    growth_bytes_per_hour: float | None = None
    time_to_limit_s: float | None = None
    events: tuple[Event, ...] = ()

    @property
    def name(self) -> str:
        """Service and pid, as far as they are known."""
        service = self.process.service or "process"
        return service if self.process.pid is None else f"{service} (pid {self.process.pid})"

    @property
    def rss_bytes(self) -> float | None:
        """Resident memory as last exported."""
        return self.rss[-1][1] if self.rss else None

    @property
    def baseline_bytes(self) -> float | None:
        """The baseline named by the latest event that names one."""
        return self._latest(semconv.PROCESS_BASELINE)

    @property
    def growth_interval(self) -> tuple[float, float] | None:
        """Both ends of the rate's 95 % interval in bytes per hour, from the latest leak event."""
        low, high = self._latest(semconv.GROWTH_RATE_LOW), self._latest(semconv.GROWTH_RATE_HIGH)
        return None if low is None or high is None else (low, high)

    @property
    def leaks(self) -> tuple[Event, ...]:
        """Its ``memleak.leak`` events."""
        return tuple(event for event in self.events if event.name == semconv.EVENT_LEAK)

    def _latest(self, key: str) -> float | None:
        for event in reversed(self.events):
            value = event.number(key)
            if value is not None:
                return value
        return None


def pictures(receiver: OtlpReceiver) -> list[Picture]:
    """Returns a picture of every process that has reported its memory, in order of appearance."""
    every = (_picture(receiver, process) for process in receiver.processes())
    return [picture for picture in every if picture.rss or picture.events]


def _picture(receiver: OtlpReceiver, process: Process) -> Picture:
    rss = receiver.metrics(semconv.PROCESS_RSS, process=process)
    limit = _newest(receiver.metrics(semconv.PROCESS_LIMIT, process=process))
    states = (point for point in receiver.metrics(semconv.STATE, process=process) if point.value)
    state = _newest(states)
    since_ns = rss[-1].time_unix_ns if rss else 0
    return Picture(
        process=process,
        rss=tuple((p.time_unix_ns / _NS_PER_S, float(p.value or 0)) for p in rss),
        state=str(state.attributes.get(semconv.STATE, "")) if state else "",
        limit_bytes=limit.value if limit else None,
        limit_source=str(limit.attributes.get(semconv.LIMIT_SOURCE, "")) if limit else "",
        growth_bytes_per_hour=_gauge(receiver, process, semconv.GROWTH_RATE, since_ns),
        time_to_limit_s=_gauge(receiver, process, semconv.TIME_TO_LIMIT, since_ns),
        events=tuple(_events(receiver, process)),
    )


def _newest(points: Iterable[MetricPoint]) -> MetricPoint | None:
    return max(points, key=lambda point: point.time_unix_ns, default=None)


def _gauge(receiver: OtlpReceiver, process: Process, name: str, since_ns: int) -> float | None:
    # A gauge without a point in the newest export has no value now, whatever it said before.
    point = _newest(receiver.metrics(name, process=process))
    return point.value if point is not None and point.time_unix_ns >= since_ns else None


def _events(receiver: OtlpReceiver, process: Process) -> Iterable[Event]:
    spans = receiver.spans(process=process)
    for record in receiver.logs(process=process):
        carriers = [
            span
            for span in spans
            if any(
                event.name == record.event_name and _same_alert(event.attributes, record.attributes)
                for event in span.events
            )
        ]
        own = [span for span in carriers if span.name == record.event_name]
        others = tuple(span.name for span in carriers if span.name != record.event_name)
        yield Event(record, len(own), others)


def _same_alert(one: Attributes, other: Attributes) -> bool:
    return semconv.ALERT_ID in one and one[semconv.ALERT_ID] == other.get(semconv.ALERT_ID)


def _number(attributes: Attributes, key: str) -> float | None:
    value = attributes.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
