"""An upload service that keeps its finished tasks: ``opentelemetry-instrument python app.py``.

Every upload is audited in a task of its own, and since the event loop holds tasks only weakly, the task is
put into a set, where it stays when it is done, together with its result. ``--fixed`` takes it out. The other
endpoints cache within bounds or make garbage.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from functools import lru_cache

from aiohttp import web

UPLOAD_BYTES = 16 * 1024

audits: set[asyncio.Task[bytes]] = set()
FIXED = web.AppKey("fixed", bool)


async def audit(document: bytes) -> bytes:
    """Look through a document."""
    await asyncio.sleep(0.01)
    return document


async def upload(request: web.Request) -> web.Response:
    task = asyncio.create_task(audit(os.urandom(UPLOAD_BYTES)))
    audits.add(task)
    if request.app[FIXED]:
        task.add_done_callback(audits.discard)
    return web.Response(text=f"{request.match_info['name']} received")


@lru_cache(maxsize=100)
def render(name: str) -> str:
    """Render a page of 8 KB, and remember the last hundred."""
    return name + " " * 8192


async def preview(request: web.Request) -> web.Response:
    return web.Response(text=render(request.match_info["name"]))


async def search(request: web.Request) -> web.Response:
    return web.Response(text=f"{len([bytearray(1024) for _ in range(100)])} found")


async def health(request: web.Request) -> web.Response:
    return web.Response(text="fine")


def create_app(fixed: bool) -> web.Application:
    """Make the application.

    Args:
        fixed: Whether finished audits are forgotten.
    """
    app = web.Application()
    app[FIXED] = fixed
    app.add_routes(
        [
            web.get("/uploads/{name}", upload),
            web.get("/previews/{name}", preview),
            web.get("/search", search),
            web.get("/health", health),
        ]
    )
    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fixed", action="store_true", help="forget audits that are done")
    options = parser.parse_args()
    web.run_app(create_app(options.fixed), host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
