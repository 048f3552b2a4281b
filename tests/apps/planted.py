"""Leaks, with a secret wherever an application may have one; tells of everything a diagnosis can tell of.

python planted.py SECONDS
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
import threading
import time
from itertools import count
from types import SimpleNamespace
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from otel_memleak import LeakAlert, MemLeakInstrumentor

SECRET = "xyzzy"
"""What is planted as a word; nothing of it may be in what this package exports."""
DIGEST = "5ec2e7f00dcafe99"
"""What is planted where a name is expected, in the form that secrets have there."""

SESSIONS_PER_SECOND = 40


class Session:
    """An object that shows its secret to whoever asks."""

    def __init__(self, number: int) -> None:
        self.token = f"{SECRET}-attribute-{number}" + "." * 3000
        setattr(self, f"key_{DIGEST}", bytearray(500))
        self.failure = ValueError(f"{SECRET}-exception-{number}")

    def __repr__(self) -> str:
        return f"<Session {SECRET}-repr {self.token}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


by_key: dict[str, Session] = {}
by_object: dict[Session, str] = {}
namespace = SimpleNamespace()
kept: list[Any] = []


def wait_for_ever(session: Session, event: threading.Event) -> None:
    """What a leaked thread runs; its argument is a secret."""
    event.wait()


async def sleep_for_ever(session: Session) -> None:
    """What a leaked task runs."""
    await asyncio.sleep(1e6)


def leak_threads_and_descriptors(numbers: count[int], stop: threading.Event) -> None:
    """Two threads and descriptors a second, named after secrets."""
    folder = tempfile.mkdtemp(prefix=f"{SECRET}-folder-")
    while not stop.wait(0.5):
        number = next(numbers)
        thread = threading.Thread(
            target=wait_for_ever, args=(Session(number), stop), name=f"{SECRET}-thread-{number}", daemon=True
        )
        thread.start()
        kept.append(open(os.path.join(folder, f"{SECRET}-file-{number}"), "w"))  # noqa: SIM115
        kept.append(socket.socket(socket.AF_UNIX))


async def leak_tasks() -> None:
    """Twenty tasks a second, named after secrets."""
    for number in count():
        kept.append(asyncio.create_task(sleep_for_ever(Session(number)), name=f"{SECRET}-task-{number}"))
        await asyncio.sleep(0.05)


def serve_slowly(stop: threading.Event) -> None:
    """There is always a request under way, for an alert to be told on."""
    while not stop.is_set():
        with trace.get_tracer("shop").start_as_current_span(f"GET /slow?password={SECRET}-slow") as span:
            span.set_attribute("secret", SECRET)
            stop.wait(1.0)


def on_alert(alert: LeakAlert) -> None:
    """The application's own callback, with an application's own failure."""
    raise RuntimeError(f"{SECRET}-callback could not page with {os.environ['PAGER_TOKEN']}")


def serve(seconds: float) -> None:
    """Requests whose addresses and spans hold secrets; each leaves a session behind."""
    tracer = trace.get_tracer("shop")
    start, served = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < seconds:
        if served >= elapsed * SESSIONS_PER_SECOND:
            time.sleep(0.005)
            continue
        served += 1
        name = f"GET /login?password={SECRET}-query-{served}"
        attributes = {
            "http.request.method": "GET",
            "url.path": f"/reset/{DIGEST}",
            "url.query": f"p={SECRET}",
        }
        with tracer.start_as_current_span(name, kind=SpanKind.SERVER, attributes=attributes) as span:
            session = Session(served)
            span.set_attribute("session", repr(session)[:100])
            by_key[f"{SECRET}-key-{served}"] = session
            by_object[session] = f"{SECRET}-value-{served}"
            if served < 150:
                setattr(namespace, f"user_{DIGEST}{served}", [Session(served)])
            _last_local = f"{SECRET}-local-{served}"


def main(seconds: float) -> None:
    """Watch with a callback, leak, serve."""
    logging.getLogger("shop").warning("%s-log of the application's own", SECRET)
    MemLeakInstrumentor().uninstrument()
    MemLeakInstrumentor().instrument(on_alert=on_alert)
    stop = threading.Event()
    threading.Thread(
        target=leak_threads_and_descriptors, args=(count(), stop), name=f"{SECRET}-main", daemon=True
    ).start()
    threading.Thread(target=serve_slowly, args=(stop,), daemon=True).start()
    threading.Thread(target=asyncio.run, args=(leak_tasks(),), name=f"{SECRET}-loop", daemon=True).start()
    try:
        serve(seconds)
    finally:
        stop.set()


if __name__ == "__main__":
    main(float(sys.argv[1]))
