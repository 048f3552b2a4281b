"""What the embedded receiver keeps of what it receives: bounded, and readable from any thread."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from otel_memleak.cli._telemetry import LogRecord, MetricPoint, Process, Span

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much is kept. The series touched longest ago, the oldest log and the oldest span make room.

    Attributes:
        series: Metric series.
        points_per_series: Points of one series; a full series forgets every other point, so that it
            always spans the whole run.
        logs: Log records.
        spans: Spans.
    """

    series: int = 2_000
    points_per_series: int = 600
    logs: int = 10_000
    spans: int = 10_000


class Series:
    """Points of one series in order of arrival, thinned evenly when there are too many.

    The newest point is always kept, so the present is never behind what was sent.

    Args:
        first: Names the series; what it says of process, scope and attributes is shared by all points.
        capacity: Points kept.
    """

    __slots__ = ("_capacity", "_newest", "_points", "_seen", "_stride", "first")

    def __init__(self, first: MetricPoint, capacity: int) -> None:
        self.first: Final = first
        self._capacity: Final = max(2, capacity)
        self._points: list[MetricPoint] = []
        self._newest: MetricPoint | None = None
        self._stride = 1
        self._seen = 0

    def add(self, point: MetricPoint) -> None:
        """Appends a point in amortised constant time."""
        # Every request decodes to its own resource: keeping one per point would multiply the memory.
        first = self.first
        point = replace(point, process=first.process, scope=first.scope, attributes=first.attributes)
        if self._seen % self._stride == 0:
            self._points.append(point)
            if len(self._points) > self._capacity:
                del self._points[1::2]
                self._stride *= 2
        self._newest = point
        self._seen += 1

    def points(self) -> list[MetricPoint]:
        """Returns the kept points, oldest first."""
        if self._newest is None or self._points[-1] is self._newest:
            return list(self._points)
        return [*self._points, self._newest]


class Store:
    """Everything received so far. Any thread may add, read and wait.

    Args:
        capacity: How much is kept.
        prefix: When not empty, keeps only metrics whose name, log records whose event name, and spans
            whose own or one of whose events' name starts with it.
    """

    def __init__(self, capacity: Capacity | None = None, *, prefix: str = "") -> None:
        self._capacity: Final = capacity or Capacity()
        self._prefix: Final = prefix
        self._arrived: Final = threading.Condition(threading.RLock())
        self._series: Final[OrderedDict[tuple[object, ...], Series]] = OrderedDict()
        self._logs: Final[deque[LogRecord]] = deque(maxlen=self._capacity.logs)
        self._spans: Final[deque[Span]] = deque(maxlen=self._capacity.spans)
        self._processes: Final[OrderedDict[Process, None]] = OrderedDict()
        self._requests = 0

    def add(
        self,
        *,
        metrics: Iterable[MetricPoint] = (),
        logs: Iterable[LogRecord] = (),
        spans: Iterable[Span] = (),
    ) -> None:
        """Keeps the content of one export request and wakes who waits for it."""
        with self._arrived:
            self._requests += 1
            for point in metrics:
                self._add_point(point)
            for record in logs:
                self._add_log(record)
            for span in spans:
                self._add_span(span)
            self._arrived.notify_all()

    def metrics(self, name: str | None = None, *, process: Process | None = None) -> list[MetricPoint]:
        """Returns metric points, series by series, each oldest first."""
        with self._arrived:
            return [
                point
                for series in self._series.values()
                if name in (None, series.first.name) and process in (None, series.first.process)
                for point in series.points()
            ]

    def logs(self, event_name: str | None = None, *, process: Process | None = None) -> list[LogRecord]:
        """Returns log records in order of arrival."""
        with self._arrived:
            every = list(self._logs)
        return [r for r in every if event_name in (None, r.event_name) and process in (None, r.process)]

    def spans(self, name: str | None = None, *, process: Process | None = None) -> list[Span]:
        """Returns spans in order of arrival."""
        with self._arrived:
            every = list(self._spans)
        return [s for s in every if name in (None, s.name) and process in (None, s.process)]

    def processes(self) -> list[Process]:
        """Returns every process heard of, in order of appearance."""
        with self._arrived:
            return list(self._processes)

    @property
    def requests(self) -> int:
        """Export requests received, whatever was kept of them."""
        return self._requests

    def wait_for(self, predicate: Callable[[], T], timeout_s: float) -> T:
        """Blocks until the predicate, called again after every arrival, returns something true.

        Returns:
            What the predicate returned.

        Raises:
            TimeoutError: It stayed false for ``timeout_s`` seconds; the message says what did arrive.
        """
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while not (found := predicate()):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"not received within {timeout_s:g} s; received: {self.summary()}")
                self._arrived.wait(left_s)
        return found

    def summary(self) -> str:
        """Says in one line what has been received, for error messages."""
        with self._arrived:
            metrics = sorted({series.first.name for series in self._series.values()})
        events = sorted({record.event_name or "(log)" for record in self.logs()})
        spans = sorted({span.name for span in self.spans()})
        return (
            f"{self._requests} requests from {len(self._processes)} processes; "
            f"metrics {metrics}; events {events}; spans {spans}"
        )

    def _add_point(self, point: MetricPoint) -> None:
        if not point.name.startswith(self._prefix):
            return
        self._heard_of(point.process)
        key = point.series
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= self._capacity.series:
                self._series.popitem(last=False)
            series = self._series[key] = Series(point, self._capacity.points_per_series)
        self._series.move_to_end(key)
        series.add(point)

    def _add_log(self, record: LogRecord) -> None:
        if record.event_name.startswith(self._prefix):
            self._heard_of(record.process)
            self._logs.append(record)

    def _add_span(self, span: Span) -> None:
        names = (span.name, *(event.name for event in span.events))
        if any(name.startswith(self._prefix) for name in names):
            self._heard_of(span.process)
            self._spans.append(span)

    def _heard_of(self, process: Process) -> None:
        if process not in self._processes:
            self._processes[process] = None
            if len(self._processes) > self._capacity.series:
                self._processes.popitem(last=False)
