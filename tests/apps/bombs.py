"""Leaks, and gives ever new and endless names to everything that has one.

python bombs.py SECONDS
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import types
from itertools import count
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

LONG = "n" * 10_000
NOT_UTF_8 = "\udcff\udce9"
"""How Python hands on a file name that is not UTF-8. The SDK cannot export it: not for spans of our own."""
REQUESTS_PER_SECOND = 400
TYPES_PER_SECOND = 40

rows: list[Any] = []
modules: list[Any] = []
threads: list[Any] = []


def make_a_type(number: int) -> None:
    """A class of its own for every row, of a module that nobody can write, in a file that nobody can name."""
    module = types.ModuleType(f"generated{NOT_UTF_8}{number % 50}.{LONG}")
    sys.modules[module.__name__] = module
    modules.append(module)
    source = f"def work{number}(row):\n    return [bytearray(1000) for _ in range(4)]\n"
    exec(compile(source, f"/srv/caf{NOT_UTF_8}/{LONG}.py", "exec"), vars(module))
    row = type(f"Row{number}" + "é" * 200, (), {"__module__": module.__name__})()
    # Attributes that are data, attributes that hurt.
    vars(row)[f"column{NOT_UTF_8}"] = vars(module)[f"work{number}"](row)
    vars(row)[LONG] = vars(row)["a\nb"] = [number]
    rows.append(row)


def make_a_thread(number: int, stop: threading.Event) -> None:
    """Whose name is as bad as its function's."""

    def wait() -> None:
        stop.wait()

    wait.__qualname__ = f"wait{number % 3}{LONG}"
    thread = threading.Thread(target=wait, name=NOT_UTF_8 + LONG, daemon=True)
    thread.start()
    threads.append(thread)


async def make_tasks() -> None:
    """Named like everything here."""
    while True:
        rows.append(asyncio.create_task(asyncio.sleep(1e6), name=NOT_UTF_8 + LONG))
        await asyncio.sleep(0.05)


def main(seconds: float) -> None:
    """Requests of 10 KB names, types, threads and tasks until the time is over."""
    tracer = trace.get_tracer("app")
    threading.Thread(target=asyncio.run, args=(make_tasks(),), daemon=True).start()
    stop, numbers = threading.Event(), count()
    start, served, made = time.monotonic(), 0, 0
    while (elapsed := time.monotonic() - start) < seconds:
        if served >= elapsed * REQUESTS_PER_SECOND:
            time.sleep(0.002)
            continue
        served += 1
        with tracer.start_as_current_span(f"GET /{served}x/{LONG}", kind=SpanKind.SERVER):
            if made < elapsed * TYPES_PER_SECOND:
                made += 1
                make_a_type(next(numbers))
                if made % 20 == 0:
                    make_a_thread(made, stop)
    stop.set()


if __name__ == "__main__":
    main(float(sys.argv[1]))
