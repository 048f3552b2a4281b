"""Beside others in one process: our signals arrive, theirs too, the verdict holds, and the process ends in time.

Runs in an environment of its own, with the real packages: ``make test-neighbours``.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from processes import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(480),
    pytest.mark.skipif(
        importlib.util.find_spec("sentry_sdk") is None,
        reason="neighbours are not installed: make test-neighbours",
    ),
]

APP = str(Path(__file__).with_name("app.py"))
SECONDS = 75
"""For which they serve at least."""
DIAGNOSED_S = 300
"""By then the holder has a name; a minute is enough on a machine that has nothing else to do."""
NEIGHBOURS = ("instrumentations", "prometheus", "sentry", "ddtrace", "tracemalloc", "everything")


class _Taking(BaseHTTPRequestHandler):
    """Everybody's backend: takes whatever is sent and remembers where it was sent to."""

    protocol_version = "HTTP/1.1"

    def _take(self) -> None:
        self._drain()
        self.server.taken[self.path] += 1  # type: ignore[attr-defined]
        answer = b'{"endpoints":["/v0.4/traces","/v0.5/traces"]}' if self.path == "/info" else b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _drain(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))

    do_GET = do_POST = do_PUT = _take  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture(scope="module")
def backend() -> Iterator[ThreadingHTTPServer]:
    """One for all of them."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taking)
    server.taken = Counter()  # type: ignore[attr-defined]
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def started(kind: str, neighbour: str, port: int, *, watched: bool = True) -> Service:
    variables = {
        **({} if watched else {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "memleak"}),
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{port}",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_RUNTIME_METRICS_ENABLED": "false",
        "SENTRY_DSN": f"http://key@127.0.0.1:{port}/1",
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
        "OTEL_PYTHON_LOG_CORRELATION": "true",
        "OTEL_PYTHON_MEMLEAK_TRACEMALLOC": "diagnosis",
        "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": "4096",
        # Somebody's tracemalloc makes each of our samples dearer: at four a second the budget would be used up
        # by them, and the heap be looked at when the hour is over.
        "OTEL_PYTHON_MEMLEAK_OVERHEAD_BUDGET": "0",
    }
    return Service(command=[sys.executable, APP, kind, neighbour, str(SECONDS + DIAGNOSED_S)], **variables)


def report_of(service: Service) -> dict[str, Any]:
    lines = [line for line in service.output.splitlines() if line.startswith("REPORT ")]
    assert lines, service.output
    return dict(json.loads(lines[-1][len("REPORT ") :]))


def records_from_threads(service: Service) -> list[Any]:
    """What the application logged in threads that it had started while serving a request."""
    return [log for log in service.receiver.logs() if log.body.startswith("request ")]


def have_a_trace(service: Service) -> set[bool]:
    """Whether the threading instrumentation has carried the request's context to these records."""
    return {bool(log.trace_id) for log in records_from_threads(service)}


def assert_theirs_arrived(
    neighbour: str, service: Service, report: dict[str, Any], taken: Counter[str]
) -> None:
    """What the neighbour is there for went on, with us beside it."""
    everything = neighbour == "everything"
    receiver = service.receiver
    if everything or neighbour == "ddtrace":
        # Where OTEL_TRACES_EXPORTER is otlp it sends its spans there, under no scope; else to its agent.
        over_otlp = [span for span in receiver.spans("GET /item") if not span.scope.name]
        to_agent = sum(taken[path] for path in taken if path.endswith("/traces"))
        assert len(over_otlp) > 100 or to_agent, taken
    if everything or neighbour == "sentry":
        assert taken["/api/1/envelope/"], taken
    if everything or neighbour == "prometheus":
        assert f"theirs_total {float(report['served'])}" in report["scraped"]
        assert "process_resident_memory_bytes" in report["scraped"]
    if everything or neighbour == "tracemalloc":
        assert report["frames"] == 5
        assert report["traced_here"] > 500_000
    if everything or neighbour == "instrumentations":
        assert len(records_from_threads(service)) > report["served"] / 20 - 3
    assert receiver.metrics("process.memory.usage"), (
        "the system-metrics instrumentation is at work in all of them"
    )


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_beside_a_neighbour(neighbour: str, backend: ThreadingHTTPServer) -> None:
    """The leaking one is accused and named, once, its twin is not; both do what the neighbour wants and end with 0.

    All of them in one process take something from each other: sentry's threading integration starts threads past
    OpenTelemetry's, and their records have no trace. So it is compared with a process without us.
    """
    taken: Counter[str] = backend.taken  # type: ignore[attr-defined]
    taken.clear()
    port = backend.server_port
    with ExitStack() as running:
        leaky, healthy = (
            running.enter_context(started(kind, neighbour, port)) for kind in ("leaky", "healthy")
        )
        services = [leaky, healthy]
        if neighbour == "everything":
            services.append(running.enter_context(started("healthy", neighbour, port, watched=False)))
        threading.Event().wait(SECONDS)
        leaky.receiver.wait_for(lambda: names_the_holder(leaky), DIAGNOSED_S)
        for service in services:
            service.process.send_signal(signal.SIGUSR1)
        status = [service.finish(timeout_s=60) for service in services]

        for service in services:
            assert set(status) == {0}, service.output
            assert_theirs_arrived(neighbour, service, report_of(service), taken)
        assert_they_keep_what_they_have_without_us(neighbour, services)
        for service in (leaky, healthy):
            receiver = service.receiver
            assert "otel_memleak failed" not in service.output
            assert max(point.value or 0 for point in receiver.metrics("memleak.overhead.errors")) == 0
            # However seldom they can be collected on a busy machine: ours are in every collection of theirs.
            theirs = Counter(point.series for point in receiver.metrics("process.memory.usage"))
            assert len(receiver.metrics("memleak.process.rss")) >= max(theirs.values()) - 3 > 0
        leaks = leaky.receiver.logs("memleak.leak")
        assert len({log.attributes["memleak.alert.id"] for log in leaks}) == 1, leaky.receiver.summary()
        assert leaky.receiver.spans("memleak.leak")
        assert not healthy.receiver.logs("memleak.leak"), healthy.receiver.logs("memleak.leak")


def names_the_holder(service: Service) -> bool:
    """Whether a diagnosis has found what the program leaks into."""
    diagnoses = service.receiver.logs("memleak.diagnosis")
    return any("cache" in str(log.attributes.get("memleak.suspect.owner")) for log in diagnoses)


def assert_they_keep_what_they_have_without_us(neighbour: str, services: list[Service]) -> None:
    """The last of all is the process without us, where there is one; alone they lose nothing."""
    if neighbour == "instrumentations":
        assert [have_a_trace(service) for service in services] == [{True}, {True}]
    if neighbour == "everything":
        without = services[-1]
        assert not without.receiver.metrics("memleak.process.rss"), "it was to be a process without us"
        with_us = [have_a_trace(service) for service in services[:-1]]
        assert with_us == [have_a_trace(without)] * 2
