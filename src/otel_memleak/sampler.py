"""One look at the process: every reading on its own, so that one that fails costs only itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from otel_memleak.guard import Guard
from otel_memleak.kinds import Kinds, KindsReader
from otel_memleak.probes import Resident
from otel_memleak.types import Sample

if TYPE_CHECKING:
    from otel_memleak.clock import Clock

T = TypeVar("T")

_PATIENCE: Final = 3
"""Failures in a row after which an optional reading is given up for the life of the process."""


class Reading(Generic[T]):
    """One optional measure, given up when it keeps failing.

    Args:
        name: What is read, in words that fit after "reading".
        read: Returns the value; None when there is nothing to read right now.
    """

    __slots__ = ("_failures", "_read", "name")

    def __init__(self, name: str, read: Callable[[], T | None]) -> None:
        self.name = name
        self._read = read
        self._failures = 0

    def take(self, guard: Guard) -> T | None:
        """The value, or None when it could not be had."""
        if self._failures >= _PATIENCE:
            return None
        try:
            value = self._read()
        except Exception as error:
            self._failures += 1
            guard.swallow(f"reading {self.name}", error)
            return None
        self._failures = 0
        return value


class Sampler:
    """Combines readings and a clock into a `Sample`.

    Args:
        clock: Gives the sample's time.
        guard: Told of every reading that failed.
        rss_bytes: Reads the resident set size, alone or with the part of it that is files and shared memory;
            tried anew for every sample, however often it failed.
        tracemalloc_bytes: Reads ``(current, peak)``, None when not tracing.
        allocated_blocks: Reads CPython's block count; None for a process that does not want it.
        asyncio_tasks: Reads the number of unfinished tasks; None for a process that does not want it.
        requests: Reads the number of requests served so far; None where they are not counted.
        modules: Reads the number of modules loaded so far.
        kinds: Reads the kinds of memory now and then; None for a process that does not want it.
    """

    def __init__(
        self,
        clock: Clock,
        guard: Guard,
        rss_bytes: Callable[[], int | Resident],
        *,
        tracemalloc_bytes: Callable[[], tuple[int, int] | None] | None = None,
        allocated_blocks: Callable[[], int | None] | None = None,
        asyncio_tasks: Callable[[], int | None] | None = None,
        requests: Callable[[], int | None] | None = None,
        modules: Callable[[], int] | None = None,
        kinds: KindsReader | None = None,
    ) -> None:
        self._clock = clock
        self._guard = guard
        self._rss_bytes = rss_bytes
        self._tracemalloc = _reading("tracemalloc", tracemalloc_bytes)
        self._blocks = _reading("the allocated blocks", allocated_blocks)
        self._tasks = _reading("the asyncio tasks", asyncio_tasks) if asyncio_tasks is not None else None
        self._requests = _reading("the requests served", requests) if requests is not None else None
        self._modules = _reading("the loaded modules", modules) if modules is not None else None
        self._kinds = kinds

    def take(self, *, calm: bool = False) -> Sample:
        """Look once. Never raises; what could not be read is None.

        Args:
            calm: Nothing is suspected: what is dear need not be read every time.
        """
        current, peak = self._tracemalloc.take(self._guard) or (None, None)
        time_s, resident = self._clock.unix_s(), self._resident()
        file_bytes, pages, malloc, caches = self._look(time_s, resident, calm=calm)
        sample = Sample(
            time_s,
            resident.rss_bytes if resident is not None else None,
            current,
            peak,
            self._blocks.take(self._guard),
            self._tasks.take(self._guard) if self._tasks is not None else None,
            self._requests.take(self._guard) if self._requests is not None else None,
            file_bytes,
            modules=self._modules.take(self._guard) if self._modules is not None else None,
        )
        if pages is None and malloc is None and caches is None:
            return sample
        return sample._replace(
            anonymous_bytes=pages.anonymous_bytes if pages is not None else None,
            shared_bytes=pages.shared_bytes if pages is not None else None,
            swapped_bytes=pages.swapped_bytes if pages is not None else None,
            malloc_in_use_bytes=malloc.in_use_bytes if malloc is not None else None,
            malloc_kept_bytes=malloc.kept_free_bytes if malloc is not None else None,
            threads=pages.threads if pages is not None else None,
            cache_entries=caches.entries if caches is not None else None,
            cache_room=caches.room if caches is not None else None,
        )

    def _resident(self) -> Resident | None:
        try:
            read = self._rss_bytes()
            return read if isinstance(read, Resident) else Resident(read)
        except Exception as error:
            self._guard.swallow("reading the resident set size", error)
            return None

    def _look(self, time_s: float, resident: Resident | None, *, calm: bool) -> Kinds:
        if self._kinds is None or resident is None:
            return Kinds()
        try:
            return self._kinds.take(time_s, resident, calm=calm)
        except Exception as error:
            self._guard.swallow("reading the kinds of memory", error)
            return Kinds()


def witnesses(sample: Sample) -> dict[str, float | None]:
    """What the detector wants to know of a sample beside its time and its resident memory."""
    return {
        "requests": sample.requests,
        "malloc_in_use_bytes": sample.malloc_in_use_bytes,
        "malloc_kept_bytes": sample.malloc_kept_bytes,
        "allocated_blocks": sample.allocated_blocks,
        "file_bytes": sample.file_bytes,
        "swapped_bytes": sample.swapped_bytes,
        "threads": sample.threads,
        "asyncio_tasks": sample.asyncio_tasks,
        "cache_entries": sample.cache_entries,
        "cache_room": sample.cache_room,
        "modules": sample.modules,
    }


def _reading(name: str, read: Callable[[], T | None] | None) -> Reading[T]:
    return Reading(name, read if read is not None else lambda: None)
