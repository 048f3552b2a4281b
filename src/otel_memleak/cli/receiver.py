"""An OTLP receiver inside the process: loopback, free ports, gRPC and HTTP/protobuf, all three signals.

What the ordinary exporters of any OpenTelemetry SDK send arrives as plain, typed values::

    with OtlpReceiver() as receiver:
        env = {**os.environ, **receiver.exporter_environment()}
        subprocess.Popen(["opentelemetry-instrument", "python", "app.py"], env=env)
        leak = receiver.wait_for(lambda: receiver.logs("memleak.leak"), timeout_s=60)[0]

It keeps a bounded amount, never writes to disk and never talks to anything but who talks to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeVar

from otel_memleak.cli._servers import LOOPBACK, GrpcDoor, HttpDoor, Signal, Sink
from otel_memleak.cli._store import Capacity, Store
from otel_memleak.cli._telemetry import (
    Attributes,
    AttributeValue,
    Distribution,
    LogRecord,
    MetricKind,
    MetricPoint,
    Process,
    Scope,
    Span,
    SpanEvent,
    SpanLink,
)

__all__ = [
    "AttributeValue",
    "Attributes",
    "Capacity",
    "Distribution",
    "LogRecord",
    "MetricKind",
    "MetricPoint",
    "OtlpReceiver",
    "Process",
    "Protocol",
    "Scope",
    "Span",
    "SpanEvent",
    "SpanLink",
]

Protocol = Literal["http/protobuf", "grpc"]
T = TypeVar("T")


class OtlpReceiver:
    """Receives OTLP on loopback while it is open; as a context manager, from ``with`` to its end.

    What was received can still be read after closing.

    Args:
        protocols: The doors to open.
        capacity: How much is kept; see `Capacity`.
        prefix: When not empty, keeps only metrics whose name, log records whose event name, and spans
            whose own or one of whose events' name starts with it.
    """

    def __init__(
        self,
        protocols: tuple[Protocol, ...] = ("http/protobuf", "grpc"),
        *,
        capacity: Capacity | None = None,
        prefix: str = "",
    ) -> None:
        self._protocols: Final = protocols
        self._store: Final = Store(capacity, prefix=prefix)
        self._doors: Final[dict[Protocol, HttpDoor | GrpcDoor]] = {}

    def __enter__(self) -> OtlpReceiver:
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Opens the doors; returns when requests can be sent.

        Raises:
            OSError: No port of loopback could be bound.
        """
        sinks = _sinks(self._store)
        for protocol in self._protocols:
            self._doors[protocol] = HttpDoor(sinks) if protocol == "http/protobuf" else GrpcDoor(sinks)

    def close(self) -> None:
        """Closes the doors. Closing twice is allowed."""
        while self._doors:
            _, door = self._doors.popitem()
            door.close()

    def endpoint(self, protocol: Protocol) -> str:
        """Returns the value ``OTEL_EXPORTER_OTLP_ENDPOINT`` must have, e.g. ``http://127.0.0.1:40123``.

        Raises:
            KeyError: That door is not open.
        """
        return f"http://{LOOPBACK}:{self._doors[protocol].port}"

    def exporter_environment(self, protocol: Protocol = "http/protobuf") -> dict[str, str]:
        """Returns the variables that make the SDK of a process export all its signals to here."""
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint(protocol),
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
        }

    def metrics(self, name: str | None = None, *, process: Process | None = None) -> list[MetricPoint]:
        """Returns the metric points of that name and process, series by series, each oldest first."""
        return self._store.metrics(name, process=process)

    def logs(self, event_name: str | None = None, *, process: Process | None = None) -> list[LogRecord]:
        """Returns the log records of that event name and process, in order of arrival."""
        return self._store.logs(event_name, process=process)

    def spans(self, name: str | None = None, *, process: Process | None = None) -> list[Span]:
        """Returns the spans of that name and process, in order of arrival (that is, of their end)."""
        return self._store.spans(name, process=process)

    def processes(self) -> list[Process]:
        """Returns every process heard of, in order of appearance."""
        return self._store.processes()

    @property
    def requests(self) -> int:
        """Export requests received so far, whatever was kept of them."""
        return self._store.requests

    def wait_for(self, predicate: Callable[[], T], timeout_s: float) -> T:
        """Blocks until the predicate, called again after every arrival, returns something true.

        Returns:
            What the predicate returned.

        Raises:
            TimeoutError: It stayed false for ``timeout_s`` seconds; the message says what did arrive.
        """
        return self._store.wait_for(predicate, timeout_s)

    def summary(self) -> str:
        """Says in one line what has been received, for error messages."""
        return self._store.summary()


def _sinks(store: Store) -> dict[Signal, Sink]:
    # Imported here: protobuf costs tens of milliseconds that only an open receiver has to pay.
    from otel_memleak.cli import _decode

    return {
        "traces": lambda body: store.add(spans=_decode.spans(body)),
        "metrics": lambda body: store.add(metrics=_decode.metric_points(body)),
        "logs": lambda body: store.add(logs=_decode.log_records(body)),
    }
