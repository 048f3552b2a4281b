"""A service with another watcher in the same process: leaking 200 KB/s or not, and telling what became of the other.

python app.py leaky|healthy ddtrace|sentry|prometheus|tracemalloc|instrumentations|everything SECONDS

Several neighbours are parted by commas. SIGUSR1 ends it sooner.

Prints as JSON what the neighbours delivered: requests that arrived at a server of this process's parent are counted
there, what can be asked for in the process is asked for here.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from typing import Any

REQUESTS_PER_SECOND = 40
BOUND = 2000
Request = Callable[[int], Any]


def start_ddtrace() -> Request:
    """Its agent's address is in the environment; it patches the interpreter as ``ddtrace-run`` does."""
    import ddtrace.auto  # noqa: F401
    from ddtrace.trace import tracer

    return lambda number: tracer.trace("theirs", resource="GET /item")


def start_sentry() -> Request:
    """With tracing, and a message now and then."""
    import os

    import sentry_sdk

    sentry_sdk.init(dsn=os.environ["SENTRY_DSN"], traces_sample_rate=0.2)

    def request(number: int) -> Any:
        if number % 100 == 0:
            sentry_sdk.capture_message(f"theirs {number}")
        return sentry_sdk.start_transaction(op="http.server", name="GET /item")

    return request


def start_prometheus() -> Request:
    """Its client with the process collector, served over HTTP."""
    import prometheus_client

    served = prometheus_client.Counter("theirs", "Requests.")
    server, _ = prometheus_client.start_http_server(0, addr="127.0.0.1")
    report["prometheus_port"] = server.server_port

    def request(number: int) -> Any:
        served.inc()
        return nullcontext()

    return request


def start_tracemalloc() -> Request:
    """Somebody debugs with it, five frames deep."""
    tracemalloc.start(5)
    return lambda number: nullcontext()


def start_instrumentations() -> Request:
    """OpenTelemetry's own are started by the launcher; here they only have something to do."""
    log = logging.getLogger("theirs")

    def request(number: int) -> Any:
        if number % 20 == 0:
            thread = threading.Thread(target=log.warning, args=("request %d", number))
            thread.start()
            thread.join()
        return nullcontext()

    return request


STARTS = {
    "ddtrace": start_ddtrace, "sentry": start_sentry, "prometheus": start_prometheus,
    "tracemalloc": start_tracemalloc, "instrumentations": start_instrumentations,
}  # fmt: skip
report: dict[str, Any] = {}


def scraped() -> str:
    """What a Prometheus server would have seen, if there is a client here."""
    port = report.get("prometheus_port")
    if port is None:
        return ""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def main(kind: str, neighbour: str, seconds: float) -> None:
    """Serve until the time is over or somebody says so."""
    ended = threading.Event()
    signal.signal(signal.SIGUSR1, lambda number, frame: ended.set())
    requests = [STARTS[name]() for name in (STARTS if neighbour == "everything" else neighbour.split(","))]
    from opentelemetry import trace

    tracer = trace.get_tracer("service")
    cache: dict[int, bytearray] = {}
    entries = count()
    start, served = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < seconds and not ended.is_set():
        if served >= elapsed * REQUESTS_PER_SECOND:
            time.sleep(0.005)
            continue
        served += 1
        with tracer.start_as_current_span("GET /item"):
            spans = [request(served) for request in requests]
            for span in spans:
                span.__enter__()
            for _ in range(5):
                entry = next(entries)
                cache[entry if kind == "leaky" else entry % BOUND] = bytearray(1000)
            for span in reversed(spans):
                span.__exit__(None, None, None)
    report["served"] = served
    report["scraped"] = scraped()
    if tracemalloc.is_tracing():
        report["frames"] = tracemalloc.get_traceback_limit()
        report["traced_here"] = sum(
            s.size
            for s in tracemalloc.take_snapshot().statistics("filename")
            if s.traceback[0].filename == __file__
        )
    print("REPORT " + json.dumps(report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
