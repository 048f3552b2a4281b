"""The same quote service with a cache that forgets what has not been asked for lately."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from app import healthy, render
from fastapi import FastAPI, Query
from fastapi.responses import PlainTextResponse

app = FastAPI(title="quotes")
app.include_router(healthy)
cached_render = lru_cache(maxsize=128)(render)


@app.get("/quotes/{symbol}", response_class=PlainTextResponse)
def quote(symbol: str, visitor: Annotated[str, Query()] = "") -> str:
    """Return the page of a symbol, rendering it when it is not cached."""
    return cached_render(symbol, visitor)
