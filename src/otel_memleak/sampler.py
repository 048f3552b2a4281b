"""One look at the process: every reading on its own, so that one that fails costs only itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from otel_memleak.clock import Clock
from otel_memleak.guard import Guard
from otel_memleak.types import Sample

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
        rss_bytes: Reads the resident set size; tried anew for every sample, however often it failed.
        tracemalloc_bytes: Reads ``(current, peak)``, None when not tracing.
        allocated_blocks: Reads CPython's block count; None for a process that does not want it.
        asyncio_tasks: Reads the number of unfinished tasks; None for a process that does not want it.
    """

    def __init__(
        self,
        clock: Clock,
        guard: Guard,
        rss_bytes: Callable[[], int],
        *,
        tracemalloc_bytes: Callable[[], tuple[int, int] | None] | None = None,
        allocated_blocks: Callable[[], int | None] | None = None,
        asyncio_tasks: Callable[[], int | None] | None = None,
    ) -> None:
        self._clock = clock
        self._guard = guard
        self._rss_bytes = rss_bytes
        self._tracemalloc = _reading("tracemalloc", tracemalloc_bytes)
        self._blocks = _reading("the allocated blocks", allocated_blocks)
        self._tasks = _reading("the asyncio tasks", asyncio_tasks)

    def take(self) -> Sample:
        """Look once. Never raises; what could not be read is None."""
        current, peak = self._tracemalloc.take(self._guard) or (None, None)
        return Sample(
            time_s=self._clock.unix_s(),
            rss_bytes=self._rss(),
            tracemalloc_current_bytes=current,
            tracemalloc_peak_bytes=peak,
            allocated_blocks=self._blocks.take(self._guard),
            asyncio_tasks=self._tasks.take(self._guard),
        )

    def _rss(self) -> int | None:
        try:
            return self._rss_bytes()
        except Exception as error:
            self._guard.swallow("reading the resident set size", error)
            return None


def _reading(name: str, read: Callable[[], T | None] | None) -> Reading[T]:
    return Reading(name, read if read is not None else lambda: None)
