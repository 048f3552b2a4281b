"""``python -m benchmarks.routes.requests``: requests per second of a traced ASGI application, watched or not.

Two equal applications in one process, one of them watched by the whole package as ``instrument()`` sets it up,
behind one uvicorn server each, which get requests in blocks and in turn, so that whatever
else the machine does falls on both. Time is that of the serving thread, not of the wall: what it comes to is
how many requests a second one core can serve. ``--bare`` leaves the server out and calls the applications.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvicorn
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

from otel_memleak import MemLeakInstrumentor

BLOCK = 25
PATH = "/items/4711"
REQUEST = f"GET {PATH} HTTP/1.1\r\nhost: localhost\r\nuser-agent: benchmark\r\n\r\n".encode()
Block = Callable[[], Awaitable[float]]


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def _application(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def traced(ratio: float) -> tuple[Any, TracerProvider]:
    """The application with its tracing; everything is sampled at a ratio of 1."""
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio) if ratio < 1.0 else ALWAYS_ON))
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    application = OpenTelemetryMiddleware(
        _application,
        default_span_details=lambda scope: ("GET /items/{id}", {"http.route": "/items/{id}"}),
        tracer_provider=provider,
    )
    return application, provider


def called(application: Any) -> Block:
    """A block of requests that are calls."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": PATH,
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"user-agent", b"benchmark")],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 40000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    async def block() -> float:
        began = time.thread_time()
        for _ in range(BLOCK):
            await application(dict(scope), receive, send)
        return BLOCK / (time.thread_time() - began)

    return block


async def served(application: Any) -> Block:
    """A block of requests that come over a socket, pipelined, from another thread."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", access_log=False, lifespan="off"))
    task = asyncio.create_task(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    connection = socket.create_connection(listening.getsockname())

    def ask() -> None:
        connection.sendall(REQUEST * BLOCK)
        answers = b""
        while answers.count(b"hello") < BLOCK:
            answers += connection.recv(65536)

    async def block() -> float:
        assert not task.done()  # held here: the loop does not
        began = time.thread_time()
        await asyncio.to_thread(ask)
        return BLOCK / (time.thread_time() - began)

    return block


async def compare(pairs: int, plain: Block, watched: Block) -> list[tuple[float, float]]:
    """Rates without and with us, of neighbouring blocks."""
    for block in (plain, watched):
        await block()
        await block()
    rates: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 20 == 0:
            gc.collect()
        # Whoever comes second finds warmer caches: take turns at that, too.
        if pair % 2:
            without = await plain()
            rates.append((without, await watched()))
        else:
            with_us = await watched()
            rates.append((await plain(), with_us))
    return rates


async def measure(pairs: int, ratio: float, bare: bool) -> list[tuple[float, float]]:
    """Set both up, compare, take both down."""
    (plain, plain_provider), (watched, watched_provider) = traced(ratio), traced(ratio)
    instrumentor = MemLeakInstrumentor()
    instrumentor.instrument(
        tracer_provider=watched_provider, meter_provider=MeterProvider(), logger_provider=LoggerProvider()
    )
    try:
        if bare:
            return await compare(pairs, called(plain), called(watched))
        return await compare(pairs, await served(plain), await served(watched))
    finally:
        instrumentor.uninstrument()
        plain_provider.shutdown()
        watched_provider.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routes.requests", description=__doc__)
    parser.add_argument("--pairs", type=int, default=401, help="of blocks (default %(default)s)")
    parser.add_argument("--sampled", type=float, default=1.0, help="share of traces (default %(default)s)")
    parser.add_argument("--bare", action="store_true", help="call the applications, without a server")
    options = parser.parse_args()
    rates = asyncio.run(measure(options.pairs, options.sampled, options.bare))
    ratios = sorted(with_us / without for without, with_us in rates)
    low, median, high = statistics.quantiles(ratios, n=4)
    # On a machine that does other things as well the best blocks are those least disturbed.
    best = [statistics.quantiles(side, n=20)[-1] for side in zip(*rates, strict=True)]
    print(
        f"{'called' if options.bare else 'served'}, {options.sampled:.0%} sampled: requests/s of one core "
        f"without {best[0]:,.0f}, with {best[1]:,.0f} (best twentieth), ratio {best[1] / best[0]:.4f}; "
        f"ratio of {len(ratios)} pairs: median {median:.4f}, middle half {low:.3f} to {high:.3f}"
    )


if __name__ == "__main__":
    main()
