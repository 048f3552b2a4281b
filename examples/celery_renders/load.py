"""Tasks for the worker: ``python load.py``, until interrupted. What is wanted changes every few seconds."""

from __future__ import annotations

import contextlib
import itertools
import random
import time

from app import cleanup, page, ping, thumbnail

TASKS = (thumbnail, page, cleanup, ping)
TASKS_PER_SECOND = 50


def main() -> None:
    """Send tasks until interrupted."""
    weights = [1.0] * len(TASKS)
    until_s = 0.0
    for number in itertools.count():
        if time.monotonic() > until_s:
            until_s = time.monotonic() + random.uniform(1.5, 4.0)
            weights = [random.uniform(0.1, 1.0) ** 2 for _ in TASKS]
        (task,) = random.choices(TASKS, weights)
        task.delay(number)
        time.sleep(1 / TASKS_PER_SECOND)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
