"""Small programs, leaky and innocent. Each is called once a tick, with the time since its start."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import os
import random
import tempfile
from collections import deque
from collections.abc import Callable
from typing import Final

TICK_S: Final = 0.05
KB: Final = 1024
MB: Final = 1024 * 1024
DAY_S: Final = 60.0
"""Length of a daily rise, and of half a day."""


class Program:
    """Something that serves requests; ``tick`` is called every 50 ms.

    Attributes:
        requests: Served so far.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._due = 0.0
        self._warm = [bytes(200) for _ in range(50_000)]

    def tick(self, time_s: float) -> None:
        """Serve what has come in, at the rate of the moment."""
        self._due += self.rate(time_s) * TICK_S
        while self._due >= 1.0:
            self._due -= 1.0
            self.requests += 1
            self.serve(time_s)

    def rate(self, time_s: float) -> float:
        """Requests per second."""
        return 100.0

    def serve(self, time_s: float) -> None:
        """One request: work, and garbage."""
        sum(len(str(number)) for number in range(200))


def rise(time_s: float) -> float:
    """From 0 to 1 in the first daily rise, as traffic does it."""
    return (1.0 - math.cos(math.pi * min(1.0, time_s / DAY_S))) / 2.0


class Steady(Program):
    """Serves, and keeps nothing."""


class PythonLeak(Program):
    """Every request leaves an entry in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[int, dict[str, object]] = {}

    def serve(self, time_s: float) -> None:
        super().serve(time_s)
        self._sessions[self.requests] = {"user": str(self.requests), "seen": [time_s], "data": bytes(3 * KB)}


class NativeLeak(Program):
    """A timer loses a buffer of malloc's, whatever the requests."""

    def __init__(self) -> None:
        super().__init__()
        self._libc = ctypes.CDLL(None)
        self._libc.malloc.restype = ctypes.c_void_p
        self._libc.malloc.argtypes = [ctypes.c_size_t]

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        for _ in range(4):
            ctypes.memset(self._libc.malloc(4 * KB), 1, 4 * KB)


class MappingLeak(Program):
    """A timer loses a mapping that no allocator knows of."""

    def __init__(self) -> None:
        super().__init__()
        self._lost: list[mmap.mmap] = []

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        self._lost.append(mmap.mmap(-1, 16 * KB))
        self._lost[-1].write(b"x" * 16 * KB)


class LeakByNight(PythonLeak):
    """Every request leaves 3 KB; most of the time there are few, and now and then it is day."""

    def rate(self, time_s: float) -> float:
        return 250.0 if time_s % 24.0 < 6.0 else 5.0


class LeakInTheMorning(PythonLeak):
    """Every request leaves 3 KB, and the day begins."""

    def rate(self, time_s: float) -> float:
        return 10.0 + 190.0 * rise(time_s)


class FirstDailyRise(Program):
    """Every request opens a session of 20 KB that lasts 3 s, and the day begins: sessions follow the load."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: deque[tuple[float, list[bytes]]] = deque()

    def rate(self, time_s: float) -> float:
        return 10.0 + 390.0 * rise(time_s)

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        while self._sessions and self._sessions[0][0] < time_s:
            self._sessions.popleft()

    def serve(self, time_s: float) -> None:
        self._sessions.append((time_s + 3.0, [bytes(400) for _ in range(50)]))


class FillingCache(Program):
    """A bounded cache of results fills in a straight line for 60 s, and then is full."""

    def __init__(self) -> None:
        super().__init__()

        @functools.lru_cache(maxsize=6000)
        def render(page: int) -> bytes:
            return bytes(4 * KB + page % 7)

        self._render = render
        globals()["render"] = render

    def serve(self, time_s: float) -> None:
        super().serve(time_s)
        self._render(self.requests)


class Fragmentation(Program):
    """Of every buffer of 5 KB the first 64 bytes are kept: between them are holes too small for another."""

    def __init__(self) -> None:
        super().__init__()
        self._libc = ctypes.CDLL(None)
        self._libc.malloc.restype = self._libc.realloc.restype = ctypes.c_void_p
        self._libc.malloc.argtypes = [ctypes.c_size_t]
        self._libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._last = self._libc.malloc(5 * KB)

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        for _ in range(4):
            buffer = self._libc.malloc(5 * KB)
            ctypes.memset(buffer, 1, 5 * KB)
            # Only now: the last of the heap would simply give back what it is shrunk by.
            self._libc.realloc(self._last, 64)
            self._last = buffer


class FilePages(Program):
    """An index file is mapped and read, further every second."""

    def __init__(self) -> None:
        super().__init__()
        with tempfile.TemporaryFile() as file:
            for _ in range(64):
                file.write(os.urandom(MB))
            file.flush()
            self._index = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._read = 0

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        if self._read < len(self._index):
            for page in range(self._read, self._read + 32 * KB, 4 * KB):
                self._index[page]
            self._read += 32 * KB


class Bursts(Program):
    """Now and then a request of random size, small objects, of which a few survive: arenas stay."""

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(7)
        self._survivors: deque[str] = deque(maxlen=2000)

    def serve(self, time_s: float) -> None:
        if self.requests % 150:
            return
        burst = [str(number) * 4 for number in range(self._random.randrange(1000, 60_000))]
        self._survivors.extend(burst[:: len(burst) // 20])


LEAKY: Final[dict[str, Callable[[], Program]]] = {
    "objects in a dictionary, by every request": PythonLeak,
    "buffers of malloc's, by a timer": NativeLeak,
    "mappings past both allocators, by a timer": MappingLeak,
    "the first, into swap: resident memory stands still": PythonLeak,
    "the first, on a day that begins": LeakInTheMorning,
    "the first, with long quiet nights": LeakByNight,
}
INNOCENT: Final[dict[str, Callable[[], Program]]] = {
    "a steady service": Steady,
    "fragmentation: holes that nothing fits into": Fragmentation,
    "bursts of small objects": Bursts,
    "pages of a mapped file": FilePages,
    "the first daily rise": FirstDailyRise,
    "a bounded cache that fills in a straight line": FillingCache,
}
INTO_SWAP: Final = "the first, into swap: resident memory stands still"
