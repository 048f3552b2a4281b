"""The service behind every server: answers with who it is, and leaks if ``LEAKY`` says so.

Offered as ``wsgi``, ``asgi`` and Celery's ``celery``. Each worker touches 60 MB at its first request, so that a
worker's memory cannot be taken for its parent's.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from opentelemetry import trace

BALLAST_BYTES = 60 * 2**20
LEAK_BYTES_PER_SECOND = 800_000
LEAKY = os.environ.get("LEAKY") == "1"
TRACER = trace.get_tracer("deployments")

if os.environ.get("INSTRUMENT") == "1":
    from otel_memleak import MemLeakInstrumentor

    MemLeakInstrumentor().instrument()


class Worker:
    """What one process remembers: ballast, and what leaks at a steady pace however requests are spread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.ballast = bytearray(b"x") * BALLAST_BYTES
        self.leaked: list[bytearray] = []
        self.seen_s = time.monotonic()

    def answer(self) -> bytes:
        now_s = time.monotonic()
        amount, self.seen_s = int(LEAK_BYTES_PER_SECOND * (now_s - self.seen_s)), now_s
        if LEAKY:
            self.leaked.extend(bytearray(1000) for _ in range(amount // 1000))
        resource = getattr(trace.get_tracer_provider(), "resource", None)
        instance = resource.attributes.get("service.instance.id") if resource is not None else None
        with open("/proc/self/statm", "rb") as file:
            rss_bytes = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return json.dumps({"pid": self.pid, "instance": instance, "rss": rss_bytes}).encode()


_worker: Worker | None = None
_lock = threading.Lock()


def respond() -> bytes:
    """One request, as an entry-point span."""
    global _worker
    with TRACER.start_as_current_span("GET /item", kind=trace.SpanKind.SERVER), _lock:
        if _worker is None or _worker.pid != os.getpid():
            _worker = Worker()
        time.sleep(0.01)
        return _worker.answer()


def respond_in_words() -> str:
    """The same, as Celery wants it."""
    return respond().decode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = respond()
    start_response("200 OK", [("Content-Length", str(len(body))), ("Connection", "close")])
    return [body]


async def asgi(
    scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    body = respond()
    headers = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def __getattr__(name: str) -> Any:
    """Celery is only imported by who asks for it."""
    if name != "celery":
        raise AttributeError(name)
    from celery import Celery

    folder = os.environ["CELERY_FOLDER"]
    celery = Celery("app", broker="filesystem://", backend=f"file://{folder}")
    paths = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder}
    celery.conf.update(broker_transport_options=paths, worker_prefetch_multiplier=1)
    celery.task(name="respond")(respond_in_words)
    globals()["celery"] = celery
    return celery
