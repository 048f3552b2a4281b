"""One program under every runtime: it leaks at a steady pace if it is told to, and ends on SIGTERM.

python runtimes.py KIND leaky|healthy
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable

LEAK_BYTES_PER_SECOND = 800_000
THREADS = 300
LOOPS = 3


class Work:
    """What the program does at every turn, from whatever thread, task or greenlet."""

    def __init__(self, leaky: bool) -> None:
        self.leaky = leaky
        self.leaked: list[bytearray] = []
        self.seen_s = time.monotonic()
        self.stopping = False
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_: object) -> None:
        self.stopping = True

    def turn(self) -> None:
        now_s = time.monotonic()
        amount, self.seen_s = int(LEAK_BYTES_PER_SECOND * (now_s - self.seen_s)), now_s
        if self.leaky:
            self.leaked.extend(bytearray(1000) for _ in range(amount // 1000))


async def blocked(work: Work) -> None:
    """A loop that somebody blocks nearly all the time, as a synchronous driver does."""
    while not work.stopping:
        work.turn()
        time.sleep(1)
        await asyncio.sleep(0.01)


async def short(work: Work) -> None:
    """A loop that does not live long, with tasks of its own."""
    tasks = [asyncio.create_task(asyncio.sleep(0.3)) for _ in range(20)]
    work.turn()
    await asyncio.gather(*tasks)


def loops(work: Work) -> None:
    """Several loops at once in threads of their own, made and closed all the time."""

    def run() -> None:
        while not work.stopping:
            asyncio.run(short(work))

    threads = [threading.Thread(target=run) for _ in range(LOOPS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.1)


def many_threads(work: Work) -> None:
    """Threads by the hundred, each with a little to do."""

    def run() -> None:
        while not work.stopping:
            work.turn()
            time.sleep(2)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def greenlets(work: Work) -> None:
    """Whatever ``threading`` and ``time`` are by now; one in fifty turns keeps the hub busy for half a second."""

    def run(number: int) -> None:
        while not work.stopping:
            work.turn()
            busy_until_s = time.monotonic() + (0.5 if number == 0 else 0)
            while time.monotonic() < busy_until_s:
                pass
            time.sleep(1)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def uvloop_blocked(work: Work) -> None:
    import uvloop

    uvloop.run(blocked(work))


KINDS: dict[str, Callable[[Work], None]] = {
    "asyncio-blocked": lambda work: asyncio.run(blocked(work)),
    "asyncio-loops": loops,
    "uvloop-blocked": uvloop_blocked,
    "threads": many_threads,
    "gevent": greenlets,
    "gevent-late": greenlets,
    "eventlet": greenlets,
    "eventlet-late": greenlets,
}


def patch(kind: str) -> None:
    """In "gevent" the launcher has done it; "late" is after the SDK has started its threads."""
    if kind == "gevent-late":
        from gevent import get_hub, monkey

        # gevent imports its loop with the first hub. The SDK's threads make theirs all at once when they are
        # patched under way, and in one process of twelve they then wait for one another's import for ever.
        get_hub()
        monkey.patch_all()
    elif kind.startswith("eventlet"):
        import eventlet

        eventlet.monkey_patch()
    if kind == "eventlet":
        from opentelemetry.instrumentation.auto_instrumentation import initialize

        initialize()


if __name__ == "__main__":
    patch(sys.argv[1])
    KINDS[sys.argv[1]](Work(sys.argv[2] == "leaky"))
