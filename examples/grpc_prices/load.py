"""Callers of the price service: ``python load.py 127.0.0.1:50051``, until interrupted.

What is wanted changes every few seconds.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import time

import grpc

METHODS = ("Subscribe", "Quote", "Search", "Check")
CALLS_PER_SECOND = 60


def main() -> None:
    """Call until interrupted."""
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    weights = [1.0] * len(METHODS)
    until_s = 0.0
    with grpc.insecure_channel(address) as channel:
        calls = [channel.unary_unary(f"/prices.Prices/{method}") for method in METHODS]
        for number in itertools.count():
            if time.monotonic() > until_s:
                until_s = time.monotonic() + random.uniform(1.5, 4.0)
                weights = [random.uniform(0.1, 1.0) ** 2 for _ in METHODS]
            (call,) = random.choices(calls, weights)
            call(str(number).encode(), wait_for_ready=True, timeout=60)
            time.sleep(1 / CALLS_PER_SECOND)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
