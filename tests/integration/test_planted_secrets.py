"""Names and numbers only: secrets are planted all over a real program, and its telemetry is searched for them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from processes import APPS, LAUNCHER, QUICK, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MARKS = (b"xyzzy", b"5ec2e7f00dcafe99")
SCOPE = "otel_memleak"
DEADLINE_S = 180
AFTERWARDS_S = 15
"""More diagnoses may follow the first, and everything has to be sent before the program is ended."""


class _Keeping(BaseHTTPRequestHandler):
    """Keeps every request as it came over the wire."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append((self.path, body))  # type: ignore[attr-defined]
        if self.path == "/v1/logs" and b"memleak.diagnosis" in body:
            self.server.diagnosed.set()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


class Told:
    """What one run of the program has exported: all of it, and the part that is this package's."""

    def __init__(self, received: list[tuple[str, bytes]], printed: str) -> None:
        self.everything = b"".join(body for _, body in received)
        self.printed = printed
        self.logs = [
            ExportLogsServiceRequest.FromString(body) for path, body in received if path == "/v1/logs"
        ]
        self.metrics = [
            ExportMetricsServiceRequest.FromString(b) for path, b in received if path == "/v1/metrics"
        ]
        self.traces = [
            ExportTraceServiceRequest.FromString(b) for path, b in received if path == "/v1/traces"
        ]

    def records(self) -> Iterator[Any]:
        """Our log records, also those of the standard library's logger of that name."""
        for scope in self._scopes(self.logs, "resource_logs", "scope_logs"):
            yield from scope.log_records

    def points(self) -> Iterator[Any]:
        for scope in self._scopes(self.metrics, "resource_metrics", "scope_metrics"):
            yield from scope.metrics

    def spans(self) -> Iterator[Any]:
        for scope in self._scopes(self.traces, "resource_spans", "scope_spans"):
            yield from scope.spans

    def events_on_their_spans(self) -> Iterator[Any]:
        """Our events on the application's spans, without the spans."""
        for scope in self._scopes(self.traces, "resource_spans", "scope_spans", ours=False):
            for span in scope.spans:
                yield from (event for event in span.events if event.name.startswith("memleak."))

    @staticmethod
    def _scopes(requests: list[Any], resources: str, scopes: str, *, ours: bool = True) -> Iterator[Any]:
        for request in requests:
            for resource in getattr(request, resources):
                yield from (s for s in getattr(resource, scopes) if s.scope.name.startswith(SCOPE) is ours)


@pytest.fixture(scope="module")
def told() -> Told:
    """One run, exporting everything, the standard library's log records included."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Keeping)
    server.received, server.diagnosed = [], threading.Event()  # type: ignore[attr-defined]
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {
        **QUICK,
        **{f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("TRACES", "METRICS", "LOGS")},
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
        "OTEL_PYTHON_MEMLEAK_TRACEMALLOC": "diagnosis",
        "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": "4096",
        "DB_PASSWORD": "xyzzy-environment",
        "PAGER_TOKEN": "xyzzy-pager",
    }
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [LAUNCHER, sys.executable, str(APPS / "planted.py"), str(DEADLINE_S)],
            env=environment(**variables), stdout=log, stderr=subprocess.STDOUT,
        ) as process,
    ):  # fmt: skip
        try:
            server.diagnosed.wait(DEADLINE_S)  # type: ignore[attr-defined]
            threading.Event().wait(AFTERWARDS_S)
        finally:
            process.terminate()
            process.wait()
        log.seek(0)
        printed = log.read()
    server.shutdown()
    server.server_close()
    return Told(server.received, printed)  # type: ignore[attr-defined]


def test_the_program_did_tell_what_it_could(told: Told) -> None:
    """The search means something: there was a leak with names, and the application's own telemetry has it all."""
    bodies = {record.event_name: record.body.string_value for record in told.records()}
    assert {"memleak.leak", "memleak.diagnosis"} <= set(bodies), told.printed
    assert any("on_alert" in record.body.string_value for record in told.records())
    assert {metric.name for metric in told.points()} >= {"memleak.process.rss", "memleak.alerts"}
    assert {span.name for span in told.spans()} >= {"memleak.leak", "memleak.diagnosis"}
    assert list(told.events_on_their_spans())
    assert "held by" in bodies["memleak.diagnosis"]
    for mark in MARKS:
        assert mark in told.everything


def test_no_secret_is_in_what_this_package_exports(told: Told) -> None:
    """Keys, values, reprs, exceptions, variables, queries, thread and task names, paths: none is on the wire."""
    for message in (*told.records(), *told.points(), *told.spans(), *told.events_on_their_spans()):
        content = message.SerializeToString()
        for mark in MARKS:
            assert mark not in content, message


def test_no_secret_is_in_what_this_package_prints(told: Told) -> None:
    """The same for the lines of its logger on standard error."""
    ours = [line for line in told.printed.splitlines() if "otel_memleak" in line or "memleak." in line]

    assert not [line for line in ours if any(mark.decode() in line for mark in MARKS)]
