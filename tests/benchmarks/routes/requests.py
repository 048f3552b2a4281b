"""``python -m benchmarks.routes.requests``: requests per second of a traced ASGI application, watched or not.

Equal applications in one process, each with a tracer provider of its own and behind a uvicorn server of its own:
one watched by the whole package as ``instrument()`` sets it up, one not, and one whose provider has a span
processor more that does nothing, which is what the SDK charges for any. Another process sends the requests, on
eight connections, in short blocks, to one server after the other in changing order, so that whatever else the
machine does falls on all of them. One process, because two differ by more (hash seed, memory layout) than what
is measured. ``--bare`` leaves server, sockets and the other process out and calls the applications.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

import uvicorn
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

from otel_memleak import MemLeakInstrumentor

BLOCK: Final = 80
BARE_BLOCK: Final = 10
CONNECTIONS: Final = 8
PATH: Final = "/items/4711"
REQUEST: Final = f"GET {PATH} HTTP/1.1\r\nhost: localhost\r\nuser-agent: benchmark\r\n\r\n".encode()
CASES: Final = ("without", "nothing", "with")


class Block(NamedTuple):
    """Requests per second of one block: by the clock on the wall, and by the CPU time of the serving thread."""

    wall: float
    cpu: float


Serve = Callable[[], Awaitable[Block]]


class Nothing(SpanProcessor):
    """A processor that overrides what every processor overrides, and does nothing."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        pass


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


def called(application: Any) -> Serve:
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

    async def block() -> Block:
        began, cpu = time.perf_counter(), time.thread_time()
        for _ in range(BARE_BLOCK):
            await application(dict(scope), receive, send)
        return Block(BARE_BLOCK / (time.perf_counter() - began), BARE_BLOCK / (time.thread_time() - cpu))

    return block


async def served(application: Any, load: asyncio.subprocess.Process) -> Serve:
    """A block of requests that another process sends."""
    # The protocol has to be named: else asyncio leaves Nagle's algorithm on, and answers wait for 40 ms.
    listening = socket.socket(proto=socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", access_log=False, lifespan="off"))
    task = asyncio.create_task(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    port = listening.getsockname()[1]
    assert load.stdin
    assert load.stdout
    told, answered = load.stdin, load.stdout

    async def block() -> Block:
        assert not task.done()  # held here: the loop does not
        cpu = time.thread_time()
        told.write(f"{port} {BLOCK}\n".encode())
        seconds = float(await answered.readline())
        return Block(BLOCK / seconds, BLOCK / (time.thread_time() - cpu))

    return block


def send_load() -> None:
    """In the other process: a line with a port and a number of requests in, seconds out."""
    known: dict[int, list[socket.socket]] = {}
    for line in sys.stdin:
        port, count = map(int, line.split())
        if port not in known:
            known[port] = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        print(_ask(known[port], count), flush=True)


def _ask(connections: Sequence[socket.socket], count: int) -> float:
    """So many requests, one at a time on each connection; the seconds they took."""
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
            connection.sendall(REQUEST)
        sent, answered = len(connections), 0
        while answered < count:
            for key, _ in selector.select():
                if not key.fileobj.recv(65536).endswith(b"hello"):  # type: ignore[union-attr]
                    continue
                answered += 1
                if sent < count:
                    key.fileobj.sendall(REQUEST)  # type: ignore[union-attr]
                    sent += 1
    return time.perf_counter() - began


async def compare(rounds: int, serve: Sequence[Serve]) -> list[list[Block]]:
    """Blocks of each case, side by side in each round."""
    for one in (*serve, *serve):
        await one()
    found: list[list[Block]] = []
    for number in range(rounds):
        if number % 100 == 0:
            gc.collect()
        # Whoever comes later finds warmer caches: take turns at that, too.
        turn = number % len(serve)
        order = [*range(turn, len(serve)), *range(turn)]
        blocks = {case: await serve[case]() for case in (order if number % 2 else order[::-1])}
        found.append([blocks[case] for case in range(len(serve))])
    return found


async def measure(rounds: int, ratio: float, bare: bool) -> list[list[Block]]:
    """Set everything up, compare, take it down."""
    made = [traced(ratio) for _ in CASES]
    applications, providers = [one[0] for one in made], [one[1] for one in made]
    providers[CASES.index("nothing")].add_span_processor(Nothing())
    instrumentor = MemLeakInstrumentor()
    instrumentor.instrument(
        tracer_provider=providers[CASES.index("with")],
        meter_provider=MeterProvider(),
        logger_provider=LoggerProvider(),
    )
    async with AsyncExitStack() as end:
        for provider in providers:
            end.callback(provider.shutdown)
        end.callback(instrumentor.uninstrument)
        if bare:
            return await compare(rounds, [called(application) for application in applications])
        load = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, "--load", stdin=-1, stdout=-1
        )
        end.callback(load.terminate)
        return await compare(rounds, [await served(application, load) for application in applications])


def describe(ratios: Sequence[float]) -> str:
    """Median, the interval that holds it in 95 of 100 runs by the order of the ratios, and the middle half."""
    ordered = sorted(ratios)
    low, median, high = statistics.quantiles(ordered, n=4)
    half = 0.98 * math.sqrt(len(ordered))
    first, last = max(0, int(len(ordered) / 2 - half)), min(len(ordered) - 1, int(len(ordered) / 2 + half))
    return (
        f"{median:.4f} (95 % {ordered[first]:.4f} to {ordered[last]:.4f}; "
        f"middle half {low:.3f} to {high:.3f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routes.requests", description=__doc__)
    parser.add_argument("--rounds", type=int, default=400, help="of a block each (default %(default)s)")
    parser.add_argument("--sampled", type=float, default=1.0, help="share of traces (default %(default)s)")
    parser.add_argument("--bare", action="store_true", help="call the applications, without a server")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        send_load()
        return
    found = asyncio.run(measure(options.rounds, options.sampled, options.bare))
    rates = [statistics.median(blocks[case].wall for blocks in found) for case in range(len(CASES))]
    print(
        f"{'called' if options.bare else 'served'}, {options.sampled:.0%} sampled, {len(found)} rounds: "
        + ", ".join(f"{rate:,.0f} requests/s {case}" for rate, case in zip(rates, CASES, strict=True))
    )
    for name, field in (("by the wall", "wall"), ("by CPU time", "cpu")):
        for number, case in enumerate(CASES[1:], start=1):
            ratios = [getattr(blocks[number], field) / getattr(blocks[0], field) for blocks in found]
            print(f"  {case:>7} / without, {name}: {describe(ratios)}", flush=True)


if __name__ == "__main__":
    main()
