"""The measured process: a tool is switched on, some work is done, its CPU time and memory are printed.

python -m benchmarks.overhead.work TOOL LOAD AMOUNT
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from .tools import TOOLS

LIVE = 20_000
"""Objects that stay: a service has a heap."""


class Row:
    """One object of an application's."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"row {number}"
        self.tags = [number, str(number)]


def allocations(amount: int) -> None:
    """JSON, objects and dictionaries that come and go among some that stay."""
    held: list[Row | None] = [None] * LIVE
    for number in range(amount):
        held[number % LIVE] = Row(number)
        text = json.dumps({"id": number, "items": [{"n": i, "s": str(i)} for i in range(8)]})
        held[(number * 7) % LIVE] = Row(len(json.loads(text)["items"]))


def make_app() -> Callable[..., Any]:
    """A FastAPI service with a parameter that is converted and a JSON answer."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/items/{number}")
    async def read(number: int) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"number": number, "names": [f"name {i}" for i in range(20)]}

    return app


def requests(amount: int) -> None:
    """Requests to an ASGI service, eight at a time, without the network."""
    app = make_app()

    async def call(number: int) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            assert message.get("status", 200) == 200, message

        path = f"/items/{number}"
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        await app(scope, receive, send)

    async def serve() -> None:
        for start in range(0, amount, 8):
            await asyncio.gather(*(call(start + i) for i in range(8)))

    asyncio.run(serve())


LOADS: dict[str, Callable[[int], None]] = {"allocations": allocations, "requests": requests}


def cpu_s() -> float:
    """CPU seconds of this process, user and system, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_bytes() -> int:
    """Resident memory."""
    gc.collect()
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> None:
    """Do it."""
    tool, load, amount = sys.argv[1], LOADS[sys.argv[2]], int(sys.argv[3])
    began_s = cpu_s()
    TOOLS[tool]()
    started_s = cpu_s() - began_s
    load(amount // 10)
    began_s = cpu_s()
    load(amount)
    print(json.dumps({"cpu_s": cpu_s() - began_s, "rss_bytes": rss_bytes(), "start_s": started_s}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
