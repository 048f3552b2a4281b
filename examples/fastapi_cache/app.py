"""A quote service that remembers every page it has rendered.

The cache is keyed by the whole query. Every visitor comes with an id of their own, so hardly any page is
asked for twice and none is ever thrown away: the service leaks. Nothing in this file knows of leak detection;
start it with ``opentelemetry-instrument uvicorn app:app``.
"""

from __future__ import annotations

import hashlib
import time
from typing import Annotated

from fastapi import FastAPI, Query
from fastapi.responses import PlainTextResponse

app = FastAPI(title="quotes")
pages: dict[tuple[str, str], str] = {}


def render(symbol: str, visitor: str) -> str:
    """Render a page of 8 KB."""
    time.sleep(0.08)  # a database somewhere
    seed = hashlib.sha256(f"{symbol}/{visitor}".encode()).hexdigest()
    return f"{symbol} for {visitor}\n" + seed * 128


@app.get("/quotes/{symbol}", response_class=PlainTextResponse)
def quote(symbol: str, visitor: Annotated[str, Query()] = "") -> str:
    """Return the page of a symbol, rendering it when it is not cached."""
    key = (symbol, visitor)
    if key not in pages:
        pages[key] = render(symbol, visitor)
    return pages[key]
