"""Visitors for the quote service: ``python load.py http://127.0.0.1:8000``, until it is interrupted."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import urllib.error
import urllib.request

VISITORS = 4
PAUSE_S = 0.01


def visit(base: str, visitor: int) -> None:
    """Ask for one page after the other, each time as somebody new; wait while nobody answers."""
    for number in itertools.count():
        url = f"{base}/quotes/ACME?visitor={visitor}-{number}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                answer.read()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        time.sleep(PAUSE_S)


def main() -> None:
    """Send visitors until interrupted."""
    base = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    for visitor in range(VISITORS):
        threading.Thread(target=visit, args=(base, visitor), daemon=True).start()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
