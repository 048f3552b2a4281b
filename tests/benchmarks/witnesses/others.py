"""More small programs, written after every factor had been set: what they show was not aimed at.

To be judged, and not to be tuned by. Whoever changes a rule because of one of them moves it to `programs`,
and writes another.
"""

from __future__ import annotations

import functools
import importlib
import mmap
import os
import random
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from .programs import KB, MB, FilePages, NativeLeak, Program, rise


class Subscribers(Program):
    """Every request subscribes to something, and is never taken off the list."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: list[Callable[[], int]] = []

    def serve(self, time_s: float) -> None:
        super().serve(time_s)
        context = {"path": f"/item/{self.requests}", "headers": [str(n) * 8 for n in range(20)]}
        self._listeners.append(lambda: len(context))


class UnboundedCache(Program):
    """Results are remembered without a bound, and no two requests are alike."""

    def __init__(self) -> None:
        super().__init__()

        @functools.cache
        def look_up(page: int) -> bytes:
            return bytes(3 * KB + page % 5)

        self._look_up = look_up
        globals()["look_up"] = look_up

    def serve(self, time_s: float) -> None:
        super().serve(time_s)
        self._look_up(self.requests)


class LeakBehindACache(Program):
    """A bounded cache fills, and beside it every request leaves as much behind."""

    def __init__(self) -> None:
        super().__init__()

        @functools.lru_cache(maxsize=3000)
        def page(number: int) -> bytes:
            return bytes(3 * KB + number % 5)

        self._page = page
        self._kept: list[bytes] = []
        globals()["page"] = page

    def serve(self, time_s: float) -> None:
        super().serve(time_s)
        self._page(self.requests)
        self._kept.append(bytes(3 * KB))


class LeakBehindAFile(NativeLeak):
    """A timer loses buffers of malloc's while an index is read."""

    def __init__(self) -> None:
        super().__init__()
        self._index = FilePages()

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        self._index.tick(time_s)


class SuspendedGenerators(Program):
    """Every fourth request begins a stream that nobody reads to its end."""

    def __init__(self) -> None:
        super().__init__()
        self._streams: list[Iterator[int]] = []

    def serve(self, time_s: float) -> None:
        super().serve(time_s)
        if self.requests % 4 == 0:
            stream = self._stream()
            next(stream)
            self._streams.append(stream)

    def _stream(self) -> Iterator[int]:
        rows = [bytes(500) for _ in range(20)]
        for row in rows:
            yield len(row)


class ExpiringSessions(Program):
    """Every request opens a session of 4 KB that lasts half a minute."""

    lasts_s = 30.0

    def __init__(self) -> None:
        super().__init__()
        self._sessions: deque[tuple[float, object]] = deque()

    def session(self) -> object:
        """What a request leaves behind."""
        return bytes(4 * KB)

    def serve(self, time_s: float) -> None:
        super().serve(time_s)
        self._sessions.append((time_s + self.lasts_s, self.session()))
        while self._sessions[0][0] < time_s:
            self._sessions.popleft()


class SlowRise(ExpiringSessions):
    """The day begins, and what a request leaves behind lives for ten seconds."""

    lasts_s = 10.0

    def rate(self, time_s: float) -> float:
        return 20.0 + 180.0 * rise(time_s)

    def session(self) -> object:
        return [bytes(500) for _ in range(20)]


class Tenants(Program):
    """Each of four thousand tenants is loaded when it is first seen, and some are seen far more often."""

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(7)
        self._loaded: dict[int, list[bytes]] = {}

    def serve(self, time_s: float) -> None:
        super().serve(time_s)
        tenant = int(4000 * self._random.random() ** 3)
        if tenant not in self._loaded:
            self._loaded[tenant] = [bytes(600) for _ in range(16)]


class FillingPool(Program):
    """A pool of forty threads is filled by and by, each with a buffer of its own, and then is complete."""

    def __init__(self) -> None:
        super().__init__()
        self._threads: list[threading.Thread] = []
        self._buffers: list[bytearray] = []
        self._end = threading.Event()

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        if len(self._threads) < min(40.0, time_s):
            self._buffers.append(bytearray(256 * KB))
            self._threads.append(threading.Thread(target=self._end.wait, daemon=True))
            self._threads[-1].start()


class Plugins(Program):
    """Four hundred modules are imported within forty seconds, when they are first wanted."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.mkdtemp()
        sys.path.insert(0, self._folder)
        self._loaded = 0

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        if self._loaded < min(400.0, 10.0 * time_s):
            name = f"plugin_{os.getpid()}_{self._loaded}"
            lines = [f"def f{n}(a, b={n!r}, *, c='{n}'):\n    return a, b, c, 'text {n}'" for n in range(120)]
            Path(self._folder, f"{name}.py").write_text("\n".join(lines), encoding="utf-8")
            importlib.invalidate_caches()
            importlib.import_module(name)
            self._loaded += 1


class Batches(Program):
    """Every twelve seconds a table of changing size is built, row by row, and let go."""

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(3)
        self._rows: list[list[str]] = []
        self._size = 4000

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        self._rows.extend([str(n) * 6 for n in range(20)] for _ in range(40))
        if len(self._rows) > self._size:
            self._rows, self._size = [], self._random.randrange(3000, 9000)


class RingBuffer(Program):
    """A ring of 40 MB, mapped at the start, is written once around in a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._ring = mmap.mmap(-1, 40 * MB)
        self._at = 0

    def tick(self, time_s: float) -> None:
        super().tick(time_s)
        size = 36 * KB
        self._at = self._at if self._at + size <= len(self._ring) else 0
        self._ring[self._at : self._at + size] = b"x" * size
        self._at += size


OTHER_LEAKY: Final[dict[str, Callable[[], Program]]] = {
    "subscribers that are never taken off": Subscribers,
    "a cache without a bound": UnboundedCache,
    "as much as a bounded cache beside it takes": LeakBehindACache,
    "buffers of malloc's while an index is read": LeakBehindAFile,
    "streams that nobody reads to the end": SuspendedGenerators,
}
OTHER_INNOCENT: Final[dict[str, Callable[[], Program]]] = {
    "sessions that expire after half a minute": ExpiringSessions,
    "a day that begins, with ten seconds' memory": SlowRise,
    "tenants that are loaded when first seen": Tenants,
    "a pool of threads that is filled": FillingPool,
    "plugins imported when first wanted": Plugins,
    "batches of changing size": Batches,
    "a ring written once around": RingBuffer,
}
