"""The embedded OTLP receiver, fed by the ordinary exporters over real sockets."""

from __future__ import annotations

import gzip
import http.client
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import get_current
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_memleak.cli._servers import MAX_REQUEST_BYTES, RequestError, decompress
from otel_memleak.cli._store import Capacity, Series, Store
from otel_memleak.cli._telemetry import (
    Distribution,
    MetricPoint,
    Process,
    Scope,
)
from otel_memleak.cli.receiver import OtlpReceiver, Protocol
from otel_memleak.emission.log_records import emit

RESOURCE = Resource.create(
    {"service.name": "shop", "service.instance.id": "i-1", "process.pid": 4711, "tags": ["a", "b"]}
)
PROTOCOLS: list[Protocol] = ["http/protobuf", "grpc"]


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return request.param


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def exporters(protocol: Protocol) -> Any:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import _log_exporter, metric_exporter, trace_exporter
    else:
        from opentelemetry.exporter.otlp.proto.http import _log_exporter, metric_exporter, trace_exporter
    return trace_exporter.OTLPSpanExporter, metric_exporter.OTLPMetricExporter, _log_exporter.OTLPLogExporter


def endpoint(receiver: OtlpReceiver, protocol: Protocol, signal: str) -> dict[str, Any]:
    base = receiver.endpoint(protocol)
    return {"endpoint": base, "insecure": True} if protocol == "grpc" else {"endpoint": f"{base}/v1/{signal}"}


def test_spans_arrive_whole(receiver: OtlpReceiver, protocol: Protocol) -> None:
    """Everything an SDK says about a span can be read back, whichever protocol it was sent with."""
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    exporter = exporters(protocol)[0](**endpoint(receiver, protocol, "traces"))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("lib", "1.2", schema_url="https://example.test/1")
    linked = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
    with tracer.start_as_current_span(
        "parent", kind=SpanKind.SERVER, links=[Link(linked, {"n": 1})]
    ) as parent:
        with tracer.start_as_current_span("child", attributes={"rates": [1.5, 2.5], "ok": True}):
            pass
        parent.add_event("memleak.leak", {"memleak.alert.id": "x"}, timestamp=1_000)
        parent.set_status(Status(StatusCode.ERROR, "bad"))
    provider.shutdown()

    child, parent_span = receiver.wait_for(lambda: len(s := receiver.spans()) == 2 and s, timeout_s=20)

    assert (
        child.name,
        child.kind,
        child.attributes,
    ) == ("child", "internal", {"rates": [1.5, 2.5], "ok": True})
    assert child.parent_span_id == parent_span.span_id
    assert child.trace_id == parent_span.trace_id == f"{parent.get_span_context().trace_id:032x}"
    assert parent_span.parent_span_id == ""
    assert (parent_span.kind, parent_span.status, parent_span.status_message) == ("server", "error", "bad")
    assert [(e.name, e.time_unix_ns, e.attributes) for e in parent_span.events] == [
        ("memleak.leak", 1_000, {"memleak.alert.id": "x"})
    ]
    assert [(k.trace_id, k.span_id, k.attributes) for k in parent_span.links] == [
        (f"{0xABC:032x}", f"{0xDEF:016x}", {"n": 1})
    ]
    assert parent_span.start_unix_ns < parent_span.end_unix_ns
    assert parent_span.scope == Scope("lib", "1.2", "https://example.test/1")
    assert parent_span.process == Process("i-1", 4711, "shop")
    assert parent_span.process.resource["tags"] == ["a", "b"]


def test_metrics_arrive_whole(receiver: OtlpReceiver, protocol: Protocol) -> None:
    """Kinds, units, attributes, value types and buckets survive the way, whichever protocol."""
    exporter = exporters(protocol)[1](**endpoint(receiver, protocol, "metrics"))
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)
    provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("lib", "1.2")
    meter.create_gauge("g", unit="By", description="a gauge").set(7, {"a": "b"})
    meter.create_counter("c", unit="{x}").add(2)
    meter.create_up_down_counter("u").add(-1.5)
    meter.create_histogram("h", unit="s", explicit_bucket_boundaries_advisory=[1, 10]).record(5)
    provider.force_flush()
    provider.shutdown()

    points = {p.name: p for p in receiver.wait_for(lambda: receiver.metrics("h") and receiver.metrics(), 20)}

    assert {name: (p.kind, p.unit, p.value) for name, p in points.items() if name != "h"} == {
        "g": ("gauge", "By", 7),
        "c": ("counter", "{x}", 2),
        "u": ("updowncounter", "", -1.5),
    }
    assert isinstance(points["g"].value, int)
    assert isinstance(points["u"].value, float)
    assert (points["g"].attributes, points["g"].description) == ({"a": "b"}, "a gauge")
    assert points["h"].kind == "histogram"
    assert points["h"].value is None
    assert points["h"].distribution == Distribution(
        count=1, sum=5, bounds=(1.0, 10.0), bucket_counts=(0, 1, 0), min=5, max=5
    )
    assert {p.process for p in points.values()} == {Process("i-1", 4711, "shop")}
    assert points["g"].time_unix_ns > 1_500_000_000 * 10**9


def test_log_records_arrive_whole(receiver: OtlpReceiver, protocol: Protocol) -> None:
    """An event keeps its name, severity, body, attributes, time and the span it belongs to."""
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    exporter = exporters(protocol)[2](**endpoint(receiver, protocol, "logs"))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("alert") as span:
        emit(  # ours, because every release of the SDK wants it otherwise
            provider.get_logger("lib"),
            timestamp_ns=5_000,
            context=get_current(),
            severity=SeverityNumber.WARN,
            event_name="memleak.leak",
            body="RSS grew",
            attributes={"n": 3, "share": 0.5, "ids": ["a"], "deep": {"x": [True, None]}},
        )
    provider.shutdown()

    record = receiver.wait_for(lambda: receiver.logs("memleak.leak"), timeout_s=20)[0]

    assert (record.event_name, record.severity_number, record.body) == ("memleak.leak", 13, "RSS grew")
    assert record.attributes == {"n": 3, "share": 0.5, "ids": ["a"], "deep": {"x": [True, None]}}
    assert record.time_unix_ns == 5_000
    assert record.trace_id == f"{span.get_span_context().trace_id:032x}"
    assert record.span_id == f"{span.get_span_context().span_id:016x}"


def test_compressed_requests_are_understood(receiver: OtlpReceiver) -> None:
    """An exporter told to compress over HTTP is understood like any other."""
    from opentelemetry.exporter.otlp.proto.http import Compression

    for compression in (Compression.Gzip, Compression.Deflate):
        exporter = exporters("http/protobuf")[0](
            **endpoint(receiver, "http/protobuf", "traces"), compression=compression
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.get_tracer("t").start_span(compression.value).end()
        provider.shutdown()

    receiver.wait_for(lambda: receiver.spans("gzip") and receiver.spans("deflate"), timeout_s=20)


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/v1/traces", {}, b"", 200),
        ("/v1/traces?x=1", {}, b"", 404),
        ("/v2/traces", {}, b"", 404),
        ("/", {}, b"", 404),
        ("/v1/traces", {"Content-Type": "application/json"}, b"{}", 415),
        ("/v1/logs", {}, b"\xff\xff\xff not protobuf", 400),
        ("/v1/logs", {"Content-Encoding": "br"}, b"", 415),
        ("/v1/logs", {"Content-Encoding": "gzip"}, b"not gzip", 400),
        ("/v1/logs", {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 999, mtime=0)[:-9], 400),
        ("/v1/metrics", {"Content-Length": "nonsense"}, b"", 411),
        ("/v1/metrics", {"Content-Length": str(MAX_REQUEST_BYTES + 1)}, b"", 413),
    ],
)
def test_what_is_not_otlp_is_refused(
    receiver: OtlpReceiver, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """A request that cannot be understood gets the matching HTTP status and changes nothing."""
    headers = {"Content-Type": "application/x-protobuf", "Content-Length": str(len(body)), **headers}
    connection = http.client.HTTPConnection(
        receiver.endpoint("http/protobuf").removeprefix("http://"), timeout=20
    )
    connection.putrequest("POST", path)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    connection.close()

    assert answer.status == status
    assert receiver.requests == (1 if status == 200 else 0)


def test_a_compression_bomb_is_not_unpacked() -> None:
    """A small request cannot make the receiver allocate more than its largest request."""
    bomb = gzip.compress(b"\0" * (MAX_REQUEST_BYTES + 1), compresslevel=1)

    with pytest.raises(RequestError) as refused:
        decompress(bomb, "gzip")

    assert refused.value.status == 413


def test_nonsense_over_grpc_is_refused(receiver: OtlpReceiver) -> None:
    """Bytes that are no export request are answered with INVALID_ARGUMENT, which exporters do not retry."""
    import grpc

    with grpc.insecure_channel(receiver.endpoint("grpc").removeprefix("http://")) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        with pytest.raises(grpc.RpcError) as refused:
            export(b"\xff\xff\xff", timeout=20)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_closing_ends_everything() -> None:
    """After closing nothing listens and no thread is left, also while a client keeps its connection."""
    before = set(threading.enumerate())
    receiver = OtlpReceiver()
    receiver.open()
    address = receiver.endpoint("http/protobuf").removeprefix("http://")
    kept = http.client.HTTPConnection(address, timeout=20)
    kept.request("POST", "/v1/logs", b"", {"Content-Type": "application/x-protobuf"})
    assert kept.getresponse().read() == b""

    receiver.close()
    receiver.close()

    with pytest.raises(OSError):  # noqa: PT011 - which one is the platform's choice
        http.client.HTTPConnection(address, timeout=20).request("POST", "/v1/logs", b"")
    assert kept.sock is not None
    assert kept.sock.recv(1) == b"", "the kept connection is still open"
    kept.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert {t for t in threading.enumerate() if t.name.startswith("otlp-")} <= before
    assert receiver.requests == 1


def test_only_loopback_is_bound(receiver: OtlpReceiver) -> None:
    """Nobody outside this machine can reach the receiver."""
    import psutil

    ports = {int(receiver.endpoint(protocol).rpartition(":")[2]) for protocol in PROTOCOLS}
    process: Any = psutil.Process()
    connections = getattr(process, "net_connections", None) or process.connections  # before psutil 6
    # gRPC binds a dual-stack socket, which shows IPv4 loopback as an IPv4-mapped address.
    listening = {
        c.laddr.port: c.laddr.ip.removeprefix("::ffff:") for c in connections("tcp") if c.status == "LISTEN"
    }

    assert {port: listening[port] for port in ports} == dict.fromkeys(ports, "127.0.0.1")


def test_importing_the_receiver_is_cheap() -> None:
    """Neither gRPC nor protobuf is imported before a door is opened."""
    code = (
        "import sys; import otel_memleak.cli.receiver;"
        "sys.exit(str(sorted(m for m in sys.modules if m in ('grpc', 'google.protobuf', 'rich')) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.strip() == ""


def point(value: float, name: str = "m", process: Process | None = None) -> MetricPoint:
    process = process or Process("i", 1, "s", {"resource": value})
    return MetricPoint(process, Scope(), name, "By", "gauge", {}, int(value), value)


def test_a_series_is_thinned_but_spans_the_whole_run() -> None:
    """However many points come, few are kept, evenly spread, with the first and the newest among them."""
    series = Series(point(0), capacity=10)
    for value in range(1003):
        series.add(point(value))

    values = [p.value for p in series.points()]

    assert len(values) <= 11
    assert (values[0], values[-1]) == (0, 1002)
    gaps = {later - earlier for earlier, later in pairwise(values[:-1])}
    assert gaps == {128}


def test_points_of_a_series_share_their_resource() -> None:
    """A long run costs one resource per process, not one per point."""
    store = Store()
    for value in range(3):
        store.add(metrics=[point(value)])

    assert len({id(p.process.resource) for p in store.metrics("m")}) == 1
    assert [p.value for p in store.metrics("m")] == [0, 1, 2]


def test_the_store_is_bounded() -> None:
    """Whatever arrives, no more than the capacity is kept, and the newest is."""
    store = Store(Capacity(series=3, points_per_series=2, logs=1, spans=1))
    for n in range(50):
        store.add(metrics=[point(n, process=Process(f"i{n}", n, "s"))])

    assert [p.value for p in store.metrics()] == [47, 48, 49]
    assert len(store.processes()) == 3


def test_prefix_keeps_only_what_matters() -> None:
    """With a prefix, a busy program's own telemetry takes no room, its spans that carry our event do."""
    from otel_memleak.cli.receiver import LogRecord, Span, SpanEvent

    store = Store(prefix="memleak.")
    process, scope = Process("i", 1, "s"), Scope()

    def log(event: str) -> LogRecord:
        return LogRecord(process, scope, event, 9, "", "", {}, 0, 0)

    def span(name: str, *events: str) -> Span:
        told = tuple(SpanEvent(event, 0, {}) for event in events)
        return Span(process, scope, name, "server", "1", "2", "", 0, 1, "unset", "", {}, told)

    store.add(metrics=[point(1, "memleak.x"), point(1, "http.x")], logs=[log("memleak.leak"), log("")])
    store.add(spans=[span("GET /"), span("GET /slow", "memleak.leak"), span("memleak.leak")])

    assert [p.name for p in store.metrics()] == ["memleak.x"]
    assert [r.event_name for r in store.logs()] == ["memleak.leak"]
    assert [s.name for s in store.spans()] == ["GET /slow", "memleak.leak"]


def test_wait_for_says_what_came_instead() -> None:
    """A timeout is no riddle: its message names what has been received."""
    with OtlpReceiver(()) as receiver:
        receiver._store.add(metrics=[point(1, "memleak.state")])

        with pytest.raises(TimeoutError, match=r"metrics \['memleak.state'\]"):
            receiver.wait_for(lambda: receiver.logs("memleak.leak"), timeout_s=0.01)


def test_wait_for_wakes_on_arrival() -> None:
    """A waiting thread is woken by the arrival itself, not by its timeout."""
    store = Store()
    threading.Timer(0.05, lambda: store.add(metrics=[point(1)])).start()

    assert len(store.wait_for(store.metrics, timeout_s=100)) == 1


def test_filters_by_process() -> None:
    """What one process sent can be told from what its twin sent."""
    store = Store()
    one, two = Process("a", 1, "s"), Process("b", 2, "s")
    store.add(metrics=[point(1, process=one), point(2, process=two)])

    assert [p.value for p in store.metrics("m", process=two)] == [2]
    assert store.processes() == [one, two]
