"""A service that answers imaginary requests, leaking 200 KB/s or not at all, beside an idle event loop.

python service.py leaky|healthy SECONDS
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from itertools import count

from opentelemetry import trace

REQUESTS_PER_SECOND = 40
ENTRIES_PER_REQUEST = 5
ENTRY_BYTES = 1000
BOUND = 2000


def main(kind: str, seconds: float) -> None:
    """Serve until the time is over. The healthy one has the same churn, but its cache is bounded."""
    tracer = trace.get_tracer("service")
    loop = threading.Thread(target=asyncio.run, args=(asyncio.sleep(2 * seconds),), daemon=True)
    loop.start()
    cache: dict[int, bytearray] = {}
    entries = count()
    start = time.monotonic()
    served = 0
    while (elapsed := time.monotonic() - start) < seconds:
        if served >= elapsed * REQUESTS_PER_SECOND:
            time.sleep(0.005)
            continue
        served += 1
        with tracer.start_as_current_span("GET /item"):
            for _ in range(ENTRIES_PER_REQUEST):
                entry = next(entries)
                cache[entry if kind == "leaky" else entry % BOUND] = bytearray(ENTRY_BYTES)
            _garbage = [bytearray(1000) for _ in range(100)]


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
