"""OTLP as plain, typed values with nothing of protobuf left in them.

Times are Unix nanoseconds, ids are lower-case hexadecimal, an absent id is the empty string.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

AttributeValue = (
    str | bool | int | float | bytes | list["AttributeValue"] | dict[str, "AttributeValue"] | None
)
Attributes = Mapping[str, AttributeValue]
MetricKind = Literal[
    "gauge", "counter", "updowncounter", "histogram", "exponential_histogram", "summary", "unknown"
]


@dataclass(frozen=True, slots=True)
class Scope:
    """The instrumentation scope that produced a signal."""

    name: str = ""
    version: str = ""
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """The sending process, as its resource describes it.

    Two values are equal when they are the same process: instance id and pid decide, the other resource
    attributes are carried along.

    Attributes:
        instance_id: ``service.instance.id``; empty when the resource has none.
        pid: ``process.pid``; None when the resource has none.
        service: ``service.name``.
        resource: Every resource attribute.
    """

    instance_id: str
    pid: int | None
    service: str
    resource: Attributes = field(default_factory=dict[str, AttributeValue], compare=False, repr=False)

    @classmethod
    def of(cls, resource: Attributes) -> Process:
        """Names the process a resource stands for."""
        pid = resource.get("process.pid")
        return cls(
            instance_id=str(resource.get("service.instance.id", "")),
            pid=pid if isinstance(pid, int) else None,
            service=str(resource.get("service.name", "")),
            resource=resource,
        )


@dataclass(frozen=True, slots=True)
class Distribution:
    """The content of one histogram (or summary) point."""

    count: int
    sum: float
    bounds: tuple[float, ...] = ()
    bucket_counts: tuple[int, ...] = ()
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One point of one series. ``value`` is None exactly when ``distribution`` is not."""

    process: Process
    scope: Scope
    name: str
    unit: str
    kind: MetricKind
    attributes: Attributes
    time_unix_ns: int
    value: int | float | None = None
    distribution: Distribution | None = None
    description: str = ""

    @property
    def series(self) -> tuple[object, ...]:
        """What tells this point's series from every other one."""
        return (self.process, self.scope, self.name, self.kind, self.unit, _hashable(self.attributes))


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One log record; an event when ``event_name`` is not empty."""

    process: Process
    scope: Scope
    event_name: str
    severity_number: int
    severity_text: str
    body: AttributeValue
    attributes: Attributes
    time_unix_ns: int
    observed_time_unix_ns: int
    trace_id: str = ""
    span_id: str = ""


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """One event on a span."""

    name: str
    time_unix_ns: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class SpanLink:
    """One link from a span to another."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """One ended span. ``status`` is ``unset``, ``ok`` or ``error``; ``kind`` as in OTLP, lower case."""

    process: Process
    scope: Scope
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_span_id: str
    start_unix_ns: int
    end_unix_ns: int
    status: str
    status_message: str
    attributes: Attributes
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()


def _hashable(attributes: Attributes) -> tuple[tuple[str, str], ...]:
    # By representation, because 1, 1.0 and True are different attribute values and lists have no hash.
    return tuple(sorted((key, repr(value)) for key, value in attributes.items()))
