"""A shop that never empties a basket: ``opentelemetry-instrument gunicorn --threads 8 'app:create_app()'``.

Four endpoints under one load. One keeps a basket for every visitor who has ever come by; the others cache
within bounds or make garbage. ``create_app(fixed=True)`` forgets the oldest baskets.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import lru_cache

from flask import Flask

BASKET_BYTES = 16 * 1024
BASKETS_KEPT_WHEN_FIXED = 100

baskets: OrderedDict[str, bytes] = OrderedDict()


@lru_cache(maxsize=100)
def render(product: str) -> str:
    """Render a page of 8 KB, and remember the last hundred."""
    return product + " " * 8192


def create_app(fixed: bool = False) -> Flask:
    """Make the application.

    Args:
        fixed: Whether old baskets are forgotten.
    """
    app = Flask(__name__)

    @app.get("/baskets/<visitor>")
    def basket(visitor: str) -> str:
        baskets[visitor] = os.urandom(BASKET_BYTES)
        if fixed and len(baskets) > BASKETS_KEPT_WHEN_FIXED:
            baskets.popitem(last=False)
        return f"basket of {visitor}"

    @app.get("/products/<product>")
    def product(product: str) -> str:
        return render(product)

    @app.get("/search")
    def search() -> str:
        found = [bytearray(1024) for _ in range(100)]
        return f"{len(found)} found"

    @app.get("/health")
    def health() -> str:
        return "fine"

    return app
