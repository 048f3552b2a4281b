"""``python -m benchmarks.routes.requests``: requests per second of a traced ASGI application, watched or not.

Equal applications in one process, each with a tracer provider of its own and behind a uvicorn server of its own:
one watched by the whole package as ``instrument()`` sets it up, one not, and one whose provider has a span
processor more that does nothing, which is what the SDK charges for any. Another process sends the requests, on
eight connections, in short blocks, to one server after the other in changing order, so that whatever else the
machine does falls on all of them. One process, because two differ by more (hash seed, memory layout) than what
is measured. Where the objects of each application happen to lie makes a difference of several thousandths, too, so the
comparison is repeated in processes one after the other, in each of which they are made in another order: the interval is
of their mean. The collector runs between the blocks, so that none pays for the garbage of others. ``--bare``
leaves server, sockets and the other process out and calls the applications.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import math
import selectors
import socket
import statistics
import subprocess
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
COLLECTED_AFTER_ROUNDS: Final = 10
WATCHED_AFTER_S: Final = 8.0
"""Until then the package is being loaded, and a service is not known to be busy."""


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
    ready = time.monotonic() + WATCHED_AFTER_S
    while time.monotonic() < ready:
        for one in serve:
            await one()
    found: list[list[Block]] = []
    gc.disable()
    for number in range(rounds):
        if number % COLLECTED_AFTER_ROUNDS == 0:
            gc.collect()
        # Whoever comes later finds warmer caches: take turns at that, too.
        turn = number % len(serve)
        order = [*range(turn, len(serve)), *range(turn)]
        blocks = {case: await serve[case]() for case in (order if number % 2 else order[::-1])}
        found.append([blocks[case] for case in range(len(serve))])
    return found


async def measure(rounds: int, ratio: float, bare: bool, order: Sequence[str]) -> list[list[Block]]:
    """Set everything up in this order, compare, take it down."""
    made = [traced(ratio) for _ in order]
    applications, providers = [one[0] for one in made], [one[1] for one in made]
    providers[order.index("nothing")].add_span_processor(Nothing())
    instrumentor = MemLeakInstrumentor()
    instrumentor.instrument(
        tracer_provider=providers[order.index("with")],
        meter_provider=MeterProvider(),
        logger_provider=LoggerProvider(),
        sampling_interval=1000,
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


def summarise(order: Sequence[str], found: Sequence[Sequence[Block]]) -> dict[str, list[float]]:
    """Of one process, by case: requests per second, and the medians of the ratios by the wall and by CPU time."""
    base = order.index("without")
    return {
        case: [
            statistics.median(blocks[number].wall for blocks in found),
            *(
                statistics.median(blocks[number][field] / blocks[base][field] for blocks in found)
                for field in range(len(Block._fields))
            ),
        ]
        for number, case in enumerate(order)
    }


def one_process(number: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """The summary of another process."""
    command = [sys.executable, "-m", __spec__.name, "--child", str(number), "--rounds", str(options.rounds)]
    command += ["--sampled", str(options.sampled), *(["--bare"] if options.bare else [])]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    summary: dict[str, list[float]] = json.loads(said)
    return summary


def describe(ratios: Sequence[float]) -> str:
    """Mean, with the interval that holds it in 95 of 100 runs, lowest and highest."""
    half = 1.96 * statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.nan
    mean = statistics.mean(ratios)
    return f"{mean:.4f} (95 % {mean - half:.4f} to {mean + half:.4f}; {min(ratios):.4f} to {max(ratios):.4f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routes.requests", description=__doc__)
    parser.add_argument("--processes", type=int, default=12, help="one after the other (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=150, help="in each, of a block of each case (default %(default)s)"
    )
    parser.add_argument("--sampled", type=float, default=1.0, help="share of traces (default %(default)s)")
    parser.add_argument("--bare", action="store_true", help="call the applications, without a server")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        send_load()
        return
    if options.child is not None:
        order = tuple(itertools.permutations(CASES))[options.child % math.factorial(len(CASES))]
        found = asyncio.run(measure(options.rounds, options.sampled, options.bare, order))
        print(json.dumps(summarise(order, found)))
        return
    every = [one_process(number, options) for number in range(options.processes)]
    print(
        f"{'called' if options.bare else 'served'}, {options.sampled:.0%} sampled, {len(every)} processes of "
        f"{options.rounds} rounds: "
        + ", ".join(
            f"{statistics.median(one[case][0] for one in every):,.0f} requests/s {case}" for case in CASES
        )
    )
    for field, name in enumerate(("by the wall", "by CPU time"), start=1):
        for case in CASES[1:]:
            ratios = [one[case][field] for one in every]
            print(f"  {case:>7} / without, {name}: {describe(ratios)}", flush=True)


if __name__ == "__main__":
    main()
