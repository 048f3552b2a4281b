"""A worker that keeps what its tasks have rendered: ``opentelemetry-instrument celery -A app worker``.

Four tasks in one queue. One remembers every thumbnail it has made; the others cache within bounds or make
garbage. With ``FIXED=1`` in the environment only the newest hundred are remembered. The broker is a
directory, so that nothing needs to be installed: ``BROKER_DIR``, else ``/tmp/celery_renders``.
"""

from __future__ import annotations

import os
from collections import deque
from functools import lru_cache
from pathlib import Path

from celery import Celery

THUMBNAIL_BYTES = 16 * 1024
FIXED = os.environ.get("FIXED") == "1"
BROKER = Path(os.environ.get("BROKER_DIR", "/tmp/celery_renders"))

BROKER.mkdir(parents=True, exist_ok=True)
app = Celery("app", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(BROKER),
        "data_folder_out": str(BROKER),
        "control_folder": str(BROKER / "control"),
        "polling_interval": 0.02,
    },
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)

thumbnails: deque[bytes] = deque(maxlen=100 if FIXED else None)


@app.task(name="renders.thumbnail")
def thumbnail(number: int) -> None:
    thumbnails.append(os.urandom(THUMBNAIL_BYTES))


@lru_cache(maxsize=100)
def template(number: int) -> bytes:
    """Read a template of 8 KB, and remember the last hundred."""
    return bytes(8192)


@app.task(name="renders.page")
def page(number: int) -> None:
    template(number)


@app.task(name="renders.cleanup")
def cleanup(number: int) -> None:
    [bytearray(1024) for _ in range(100)]


@app.task(name="renders.ping")
def ping(number: int) -> None:
    pass
