"""The kinds of memory of this process, read as often as they are worth it.

Resident memory and the part of it that files are come in one line of ``/proc``; the rest takes another file
and a walk through malloc's free lists: microseconds as a rule, milliseconds in a heap that is in pieces. The
bounded caches are asked as well, how far they have filled.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from otel_memleak.probes import (
    CacheProbe,
    CacheReading,
    MallocReading,
    PageReading,
    ProbeError,
    Resident,
    read_malloc,
    read_pages,
)
from otel_memleak.records import NamedTuple

CALM_STRIDE: Final = 10
"""While memory is stable, one sample in so many is read in full."""

_MOVED_SHARE: Final = 1 / 32
"""Or one at which resident memory, or that of files, has moved by such a part since the last."""

_WALL_PER_READING: Final = 2000.0
"""What takes long (malloc's free lists, a look for caches) is left alone for so many times its duration."""

_NOTHING_IMPORTED: Final = 10.0
"""Times as long for the caches when no module has been imported since: that is when they are made."""


class Kinds(NamedTuple):
    """One look at the kinds of memory.

    Attributes:
        file_bytes: Resident pages of mapped files, known at every sample once shared memory is; else None.
        pages: What the kernel says; None when it was not asked.
        malloc: What malloc says; None when it was not asked or cannot be.
        caches: What bounded caches say; None when they were not asked.
    """

    file_bytes: int | None = None
    pages: PageReading | None = None
    malloc: MallocReading | None = None
    caches: CacheReading | None = None


class KindsReader:
    """Decides at which samples the kinds are read.

    Args:
        pages: Asks the kernel.
        malloc: Asks malloc.
        cpu_s: A clock by which what may take long is timed, CPU seconds of this thread.
    """

    __slots__ = (
        "_caches",
        "_caches_cost_s",
        "_caches_looked_s",
        "_cpu_s",
        "_malloc",
        "_malloc_after_s",
        "_modules",
        "_pages",
        "_read_at",
        "_samples",
        "_shmem_bytes",
    )

    def __init__(
        self,
        pages: Callable[[], PageReading] = read_pages,
        malloc: Callable[[], MallocReading | None] = read_malloc,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._pages = pages
        self._malloc = malloc
        self._caches = CacheProbe()
        self._cpu_s = cpu_s
        self._samples = 0
        self._read_at = Resident(0)
        self._malloc_after_s = self._caches_looked_s = float("-inf")
        self._caches_cost_s = 0.0
        self._modules = 0
        self._shmem_bytes: int | None = None

    def take(self, time_s: float, resident: Resident, *, calm: bool) -> Kinds:
        """Look, as far as it is time.

        Args:
            time_s: Of the sample, seconds.
            resident: What was read for it.
            calm: Nothing is suspected.
        """
        due = not calm or self._samples % CALM_STRIDE == 0 or self._moved(resident)
        self._samples += 1
        if due:
            pages = self._read_pages(resident)
            if not calm:
                self._find_caches(time_s)
            return Kinds(pages.file_bytes, pages, self._read_malloc(time_s), self._caches.read())
        if resident.shared_bytes is None or self._shmem_bytes is None:
            return Kinds()
        return Kinds(max(0, resident.shared_bytes - self._shmem_bytes))

    def _moved(self, resident: Resident) -> bool:
        slack = resident.rss_bytes * _MOVED_SHARE
        before = self._read_at
        shared = (resident.shared_bytes or 0) - (before.shared_bytes or 0)
        return abs(resident.rss_bytes - before.rss_bytes) > slack or abs(shared) > slack

    def _read_pages(self, resident: Resident) -> PageReading:
        try:
            pages = self._pages()
        except ProbeError:  # no such file, on this system or any more
            pages = PageReading()
        self._read_at, self._shmem_bytes = resident, pages.shared_bytes
        return pages

    def _read_malloc(self, time_s: float) -> MallocReading | None:
        if time_s < self._malloc_after_s:
            return None
        began_s = self._cpu_s()
        malloc = self._malloc()
        self._malloc_after_s = time_s + _WALL_PER_READING * (self._cpu_s() - began_s)
        return malloc

    def _find_caches(self, time_s: float) -> None:
        rest_s = _WALL_PER_READING * self._caches_cost_s
        if len(sys.modules) == self._modules:
            rest_s *= _NOTHING_IMPORTED
        if time_s < self._caches_looked_s + rest_s:
            return
        began_s = self._cpu_s()
        self._caches.find()
        self._caches_looked_s, self._modules = time_s, len(sys.modules)
        self._caches_cost_s = self._cpu_s() - began_s
