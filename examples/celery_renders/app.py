"""A worker that keeps what its tasks have rendered: ``opentelemetry-instrument celery -A app worker``.

Four tasks in one queue. One remembers every thumbnail it has made; the others cache within bounds or make
garbage. With ``FIXED=1`` in the environment only the newest hundred are remembered. The broker is a
directory, so that nothing needs to be installed: ``BROKER_DIR``, else ``/tmp/celery_renders``.
"""

from __future__ import annotations

import os
import time
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

THUMBNAIL_BYTES = 16 * 1024
FIXED = os.environ.get("FIXED") == "1"
BROKER = Path(os.environ.get("BROKER_DIR", "/tmp/celery_renders"))


class Channel(filesystem.Channel):
    """Messages appear whole: an empty one, read before it was written, ends a worker."""

    def _put(self, queue: str, payload: object, **options: Any) -> None:
        part = BROKER / f"{uuid4()}.part"
        part.write_text(dumps(payload), encoding="utf-8")
        part.rename(BROKER / f"{time.time_ns()}_{part.stem}.{queue}.msg")


class Transport(filesystem.Transport):
    """A directory as the broker."""

    Channel = Channel


BROKER.mkdir(parents=True, exist_ok=True)
TRANSPORT_ALIASES["directory"] = f"{__name__}:Transport"
app = Celery("app", broker="directory://")
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
