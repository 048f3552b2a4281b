"""Workers one after the other, as with ``max_requests``; each leaks, or not, and is gone before it can be told.

python successive.py leaky|healthy LIVES SECONDS
"""

from __future__ import annotations

import os
import sys
import time

CHUNK_BYTES = 200_000
PAUSE_S = 0.05
hoard: list[bytes] = []
"""Of the process, not of a function: it is there to the very end."""


def work(kind: str, seconds: float) -> None:
    """4 MB/s that stay, or the same churn."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hoard.append(os.urandom(CHUNK_BYTES))
        if kind == "healthy":
            hoard.clear()
        time.sleep(PAUSE_S)


def main(kind: str, lives: int, seconds: float) -> None:
    """Replace each worker by the next."""
    for _ in range(lives):
        pid = os.fork()
        if pid == 0:
            work(kind, seconds)
            time.sleep(1)  # the SDK sends what it holds
            os._exit(0)  # like Celery's and multiprocessing's: without atexit
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
