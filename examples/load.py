"""Visitors for the examples: ``python load.py http://127.0.0.1:8000 '/quotes/{n}' /symbols``.

Each request is for one of the paths; ``{n}`` in it is a number that never comes twice. Which paths are
popular changes every few seconds, as it does over the hours of a day: that is how the one that leaks is told
from the others.
"""

from __future__ import annotations

import argparse
import itertools
import random
import threading
import time
import urllib.error
import urllib.request

PHASE_S = (1.5, 4.0)


class Mix:
    """What the visitors like at the moment."""

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths
        self._weights = [1.0] * len(paths)
        self._numbers = itertools.count()
        self._until_s = 0.0

    def next(self) -> str:
        """Return the path of the next request."""
        if time.monotonic() > self._until_s:
            self._until_s = time.monotonic() + random.uniform(*PHASE_S)
            self._weights = [random.uniform(0.1, 1.0) ** 2 for _ in self._paths]
        (path,) = random.choices(self._paths, self._weights)
        return path.replace("{n}", f"{next(self._numbers):06}")


def visit(base: str, mix: Mix, pause_s: float) -> None:
    """Ask for one page after the other; wait while nobody answers."""
    while True:
        try:
            with urllib.request.urlopen(base + mix.next(), timeout=10) as answer:
                answer.read()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        time.sleep(pause_s)


def main() -> None:
    """Send visitors until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="http://host:port")
    parser.add_argument("paths", nargs="+", help="what to ask for")
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two requests of a visitor")
    options = parser.parse_args()
    mix = Mix(options.paths)
    for _ in range(options.visitors):
        threading.Thread(
            target=visit, args=(options.base.rstrip("/"), mix, options.pause), daemon=True
        ).start()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
