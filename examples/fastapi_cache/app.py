"""A quote service that remembers every page it has rendered.

The cache is keyed by the whole query. Every visitor comes with an id of their own, so hardly any page is
asked for twice and none is ever thrown away: the service leaks. Nothing in this file knows of leak detection;
start it with ``opentelemetry-instrument uvicorn app:app``.
"""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import PlainTextResponse

pages: dict[tuple[str, str], str] = {}
healthy = APIRouter(default_response_class=PlainTextResponse)


def render(symbol: str, visitor: str) -> str:
    """Render a page of 8 KB."""
    time.sleep(0.08)  # a database somewhere
    seed = hashlib.sha256(f"{symbol}/{visitor}".encode()).hexdigest()
    return f"{symbol} for {visitor}\n" + seed * 128


@lru_cache(maxsize=100)
def chart(symbol: str) -> str:
    """Draw a chart of 8 KB, and remember the last hundred."""
    return symbol + " " * 8192


@healthy.get("/history/{symbol}")
def history(symbol: str) -> str:
    """Return a chart, from a cache that has a bound."""
    return chart(symbol)


@healthy.get("/search")
def search() -> str:
    """Make some garbage."""
    return f"{len([bytearray(1024) for _ in range(100)])} found"


@healthy.get("/symbols")
def symbols() -> str:
    """Return what there is."""
    return "ACME"


app = FastAPI(title="quotes")
app.include_router(healthy)


@app.get("/quotes/{symbol}", response_class=PlainTextResponse)
def quote(symbol: str, visitor: Annotated[str, Query()] = "") -> str:
    """Return the page of a symbol, rendering it when it is not cached."""
    key = (symbol, visitor)
    if key not in pages:
        pages[key] = render(symbol, visitor)
    return pages[key]
