"""The world as the engine sees it, in one piece that a test can replace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_memleak.clock import SystemClock
from otel_memleak.kinds import KindsReader
from otel_memleak.probes import Resident, RssProbe
from otel_memleak.probes import read_limit as read_limit_here
from otel_memleak.types import MemoryLimit

if TYPE_CHECKING:
    from otel_memleak.clock import Clock


class Surroundings:
    """What the engine reads from outside, injectable as a whole.

    Args:
        clock: Time of samples.
        read_rss_bytes: Resident memory of this process.
        read_limit: The limit in force, given the configured one in bytes or None.
        cpu_clock_s: CPU seconds of the calling thread.
        make_kinds: What reads the kinds of memory beside it; None for a process that has only the one.
    """

    __slots__ = ("clock", "cpu_clock_s", "make_kinds", "read_limit", "read_rss_bytes")

    def __init__(
        self,
        clock: Clock | None = None,
        read_rss_bytes: Callable[[], int | Resident] | None = None,
        read_limit: Callable[[int | None], MemoryLimit | None] = read_limit_here,
        cpu_clock_s: Callable[[], float] = time.thread_time,
        make_kinds: Callable[[], KindsReader] | None = KindsReader,
    ) -> None:
        self.clock = clock or SystemClock()
        self.read_rss_bytes = read_rss_bytes or RssProbe().read_resident
        self.read_limit = read_limit
        self.cpu_clock_s = cpu_clock_s
        self.make_kinds = make_kinds
