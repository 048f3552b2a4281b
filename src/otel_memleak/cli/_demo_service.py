"""The service of the demo: a small shop over HTTP, with customers of its own.

``python -m otel_memleak.cli._demo_service`` renders product pages and keeps every rendered page in a cache
keyed by the request: the cache never empties, so the service leaks. With ``--healthy`` the same pages go
through the same cache, except that it is bounded. Nothing in here knows of leak detection: that comes with
``opentelemetry-instrument``.

It ends when its standard input is closed, so that it cannot outlive the demo.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import random
import sys
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind

LAST_EXPORT_S: Final = 4.0
CUSTOMERS: Final = 4
PAGE_BYTES: Final = 8 * 1024
BACKEND_S: Final = 0.09
HEALTHY_CACHE_PAGES: Final = 64
"""Four customers at 11 requests a second, 8 KiB each: the cache takes in about 350 KiB every second."""


class PageCache:
    """Rendered pages by request; never forgets unless it is told how many to keep.

    Args:
        max_pages: Pages kept; None keeps every one for ever.
    """

    def __init__(self, max_pages: int | None) -> None:
        self._max_pages: Final = max_pages
        self._pages: Final[OrderedDict[str, str]] = OrderedDict()
        self._lock: Final = threading.Lock()

    def get_or_render(self, request: str) -> str:
        """Returns the page of a request, rendering it when it is not cached."""
        with self._lock:
            page = self._pages.get(request)
        if page is None:
            page = render(request)
            with self._lock:
                self._pages[request] = page
                if self._max_pages is not None and len(self._pages) > self._max_pages:
                    self._pages.popitem(last=False)
        return page

    def __len__(self) -> int:
        return len(self._pages)


def render(request: str) -> str:
    """Renders a product page: a header and as much text as a page has."""
    head = f"<html><h1>{request}</h1>"
    return head + os.urandom((PAGE_BYTES - len(head)) // 2).hex()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = (
        4 * PAGE_BYTES
    )  # headers and page in one packet: two would each wait 40 ms for an acknowledgement
    cache: PageCache
    tracer: trace.Tracer

    def do_GET(self) -> None:
        with self.tracer.start_as_current_span("GET /products", kind=SpanKind.SERVER):
            time.sleep(random.uniform(0.5, 1.5) * BACKEND_S)  # a database somewhere
            page = self.cache.get_or_render(self.path).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Says nothing: the demo's terminal is taken."""


def _shop(port: int, customer: int) -> None:
    """Sends requests, one after the other, each with a query of its own, as trackers and searches do."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for visit in itertools.count():
        connection.request("GET", f"/products/{random.randrange(500)}?visit={customer}-{visit}")
        connection.getresponse().read()


def main() -> int:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--healthy", action="store_true", help="bound the cache")
    healthy = parser.parse_args().healthy
    _Handler.cache = PageCache(HEALTHY_CACHE_PAGES if healthy else None)
    _Handler.tracer = trace.get_tracer("demo.shop")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for customer in range(CUSTOMERS):
        threading.Thread(target=_shop, args=(server.server_address[1], customer), daemon=True).start()
    sys.stdin.buffer.read()
    # The receiver may be gone with the demo, and exporters would try to reach it for half a minute.
    deadline = threading.Timer(LAST_EXPORT_S, os._exit, (0,))
    deadline.daemon = True
    deadline.start()
    return 0


if __name__ == "__main__":
    sys.exit(main())
