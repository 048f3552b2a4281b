"""A price service that never forgets a subscriber: ``opentelemetry-instrument python app.py``.

Four methods, handled without generated code so that the example is one file. ``Subscribe`` keeps a queue for
every caller, also for those that have long hung up; ``--fixed`` drops it when the call is over. The others
cache within bounds or make garbage.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import grpc

QUEUE_BYTES = 16 * 1024

subscribers: dict[int, bytearray] = {}


def subscribe(fixed: bool) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    """Make the method that keeps a queue for each caller."""

    def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
        number = int(request)
        subscribers[number] = bytearray(b"x" * QUEUE_BYTES)
        if fixed:
            context.add_callback(lambda: subscribers.pop(number, None))
        return b"subscribed"

    return handle


@lru_cache(maxsize=100)
def price(request: bytes) -> bytes:
    """Look up a price list of 8 KB, and remember the last hundred."""
    return request + bytes(8192)


def quote(request: bytes, context: grpc.ServicerContext) -> bytes:
    return price(request)


def search(request: bytes, context: grpc.ServicerContext) -> bytes:
    return str(len([bytearray(1024) for _ in range(100)])).encode()


def check(request: bytes, context: grpc.ServicerContext) -> bytes:
    return b"fine"


def serve(address: str, fixed: bool) -> grpc.Server:
    """Start a server.

    Args:
        address: Host and port.
        fixed: Whether subscribers are forgotten when their call is over.
    """
    methods = {"Subscribe": subscribe(fixed), "Quote": quote, "Search": search, "Check": check}
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("prices.Prices", handlers),))
    server.add_insecure_port(address)
    server.start()
    return server


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--fixed", action="store_true", help="forget subscribers when their call is over")
    options = parser.parse_args()
    server = serve(options.address, options.fixed)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    stopping.wait()
    server.stop(1).wait()


if __name__ == "__main__":
    main()
