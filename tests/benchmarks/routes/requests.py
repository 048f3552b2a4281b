"""``python -m benchmarks.routes.requests``: requests per second of a traced ASGI application, counted or not.

Two equal applications take turns in one process, in blocks of requests, so that whatever else the machine
does falls on both. Time is that of the thread, not of the wall: neighbours do not count.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from otel_memleak.guard import Guard
from otel_memleak.routes.counter import attach
from otel_memleak.routes.tally import RouteTally

BLOCK = 200


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def _application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


def traced(ratio: float, counted: bool) -> tuple[Any, TracerProvider]:
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    if counted:
        counter = attach(provider, Guard(), RouteTally())
        assert counter is not None
        counter.enabled = True
    application = OpenTelemetryMiddleware(
        _application,
        default_span_details=lambda scope: ("GET /items/{id}", {"http.route": "/items/{id}"}),
        tracer_provider=provider,
    )
    return application, provider


async def block(application: Any) -> float:
    """Requests per second of thread time."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/items/4711",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"user-agent", b"benchmark")],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 40000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    began = time.thread_time()
    for _ in range(BLOCK):
        await application(dict(scope), receive, send)
    return BLOCK / (time.thread_time() - began)


async def compare(pairs: int, ratio: float) -> tuple[float, float, float]:
    """Median rates without and with counting, and the median of the ratios of neighbouring blocks."""
    plain, plain_provider = traced(ratio, counted=False)
    counted, counted_provider = traced(ratio, counted=True)
    await block(plain)
    await block(counted)
    rates: list[tuple[float, float]] = []
    for pair in range(pairs):
        # Whoever comes second finds warmer caches: take turns at that, too.
        if pair % 2:
            without = await block(plain)
            rates.append((without, await block(counted)))
        else:
            with_us = await block(counted)
            rates.append((await block(plain), with_us))
    plain_provider.shutdown()
    counted_provider.shutdown()
    return (
        statistics.median(without for without, _ in rates),
        statistics.median(with_us for _, with_us in rates),
        statistics.median(with_us / without for without, with_us in rates),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routes.requests", description=__doc__)
    parser.add_argument("--pairs", type=int, default=200, help="of blocks (default %(default)s)")
    parser.add_argument("--sampled", type=float, default=1.0, help="share of traces (default %(default)s)")
    options = parser.parse_args()
    without, with_us, ratio = asyncio.run(compare(options.pairs, options.sampled))
    print(f"requests/s without {without:,.0f}, with {with_us:,.0f}, median ratio of pairs {ratio:.4f}")


if __name__ == "__main__":
    main()
