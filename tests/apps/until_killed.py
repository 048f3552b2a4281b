"""Leaks quickly, and is killed by itself, without notice, a moment after it has passed 97 % of a limit.

python until_killed.py LIMIT_MB MB_PER_SECOND
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

LINGER_S = 1.5
"""The kernel would not wait either; a full machine may need it to get round to sending."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
hoard: list[bytes] = []


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def main(limit_mb: int, mb_per_second: float) -> None:
    """Grow until the limit."""
    while rss_bytes() < 0.97 * limit_mb * 1024 * 1024:
        hoard.append(os.urandom(1024 * 1024))
        time.sleep(1 / mb_per_second)
    time.sleep(LINGER_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
