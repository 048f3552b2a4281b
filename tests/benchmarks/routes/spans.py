"""``python -m benchmarks.routes.spans``: what watching adds to a span, from its start to its end.

Spans of three providers in turn: one with a processor, as every application that exports has; one with a second
processor that does nothing, which is what the SDK charges for any; one with ours, remembering what is open and
counting routes. An entry is a SERVER span without a parent, an inner span a child of it. ``--instructions``
counts with callgrind as well, spans and whole requests of the traced ASGI application, called without a server: a
figure that does not depend on who else is busy (needs valgrind; minutes).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, set_span_in_context

from otel_memleak.emission import inflight
from otel_memleak.guard import Guard
from otel_memleak.routes import counter

from .requests import BARE_BLOCK, Nothing, called, traced

BLOCK: Final = 100
COUNTED: Final = 2000
KINDS: Final = ("entry", "inner")
CASES: Final = ("without", "nothing", "with", "alarmed")
"""The last is as the third while growth is suspected: what begins is looked at, too."""


class Applications(Nothing):
    """Of another class than the other processors: the interpreter remembers where it found a method of one class."""


def make_provider(case: str) -> TracerProvider:
    """A provider with an application's processor, and what the case adds to it."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Applications())
    return complete(provider, case)


def complete(provider: TracerProvider, case: str) -> TracerProvider:
    """The provider with what the case adds to it."""
    if case == "nothing":
        provider.add_span_processor(Nothing())
    if case in ("with", "alarmed"):
        counting, opened = counter.attach(provider, Guard()), inflight.attach(provider)
        assert counting is not None
        assert opened is not None
        counting.enabled = opened.enabled = True
        opened.attend(case == "alarmed")
    return provider


def spans(case: str, kind: str) -> Callable[[int], None]:
    """Starts and ends so many spans."""
    tracer = make_provider(case).get_tracer("shop")
    attributes = {"http.request.method": "GET", "http.route": "/items/{id}"}
    root = tracer.start_span("GET /items/{id}", Context(), SpanKind.SERVER, attributes)
    inside = set_span_in_context(root, Context())

    def entries(count: int) -> None:
        for _ in range(count):
            tracer.start_span("GET /items/{id}", Context(), SpanKind.SERVER, attributes).end()

    def inner(count: int) -> None:
        for _ in range(count):
            tracer.start_span("SELECT", inside, SpanKind.CLIENT, attributes).end()

    return entries if kind == "entry" else inner


def requests(case: str) -> Callable[[int], None]:
    """Calls the traced application so many times."""
    application, provider = traced(1.0)
    complete(provider, case)
    block = called(application)

    async def serve(count: int) -> None:
        for _ in range(count // BARE_BLOCK):
            await block()

    return lambda count: asyncio.run(serve(count))


def timed(kind: str, rounds: int) -> dict[str, list[float]]:
    """Microseconds of CPU time of a span, block by block, case beside case."""
    work = {case: spans(case, kind) for case in CASES}
    found: dict[str, list[float]] = {case: [] for case in CASES}
    for run in work.values():
        run(5 * BLOCK)
    for number in range(rounds):
        for case in CASES if number % 2 else CASES[::-1]:
            began = time.thread_time()
            work[case](BLOCK)
            found[case].append((time.thread_time() - began) / BLOCK * 1e6)
    return found


def start(case: str, kind: str, count: int) -> subprocess.Popen[str]:
    """A counted process that makes so many spans."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    command += ["-m", __spec__.name, "--child", case, kind, str(count)]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONHASHSEED": "0"}, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> int:
    """Instructions of the whole process."""
    _, said = process.communicate()
    collected = re.search(r"Collected : (\d+)", said)
    if process.returncode or collected is None:
        raise RuntimeError(said)
    return int(collected[1])


def counted(case: str, kind: str) -> float:
    """Instructions of one span: the difference of two processes that differ in nothing else."""
    many, few = start(case, kind, 2 * COUNTED), start(case, kind, COUNTED)
    return (finish(many) - finish(few)) / COUNTED


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routes.spans", description=__doc__)
    parser.add_argument("--rounds", type=int, default=400, help="of a block each (default %(default)s)")
    parser.add_argument("--instructions", action="store_true", help="count instructions, too")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        case, kind, count = options.child
        work = requests(case) if kind == "request" else spans(case, kind)
        # One collection of the whole heap more or less would decide: 7,000 instructions for each of 2000 requests.
        gc.disable()
        work(int(count))
        return
    for kind in KINDS:
        found = timed(kind, options.rounds)
        plain = statistics.median(found["without"])
        print(f"{kind} span: {plain:.1f} µs of CPU time without")
        for case in CASES[1:]:
            added = [a - b for a, b in zip(found[case], found["without"], strict=True)]
            low, median, high = statistics.quantiles(added, n=4)
            print(f"  {case:>7}: {median:+.2f} µs (middle half {low:+.2f} to {high:+.2f})", flush=True)
    for kind in (*KINDS, "request") if options.instructions else ():
        found = {case: counted(case, kind) for case in CASES}
        said = (f"{count:,.0f} {case} ({found['without'] / count:.4f})" for case, count in found.items())
        print(f"{kind}, instructions: " + ", ".join(said), flush=True)


if __name__ == "__main__":
    main()
