"""The only code that looks at the operating system and the interpreter.

Every probe reads *this* process, at the moment it is called, and keeps nothing between two calls that a
fork could make wrong. A reading that fails raises :class:`ProbeError` and nothing else; a quantity that
is normally absent (no limit set, tracing off) is None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_memleak.probes._asyncio import count_asyncio_tasks
from otel_memleak.probes._caches import CacheProbe, CacheReading
from otel_memleak.probes._cgroup import read_cgroup_limit
from otel_memleak.probes._errors import ProbeError
from otel_memleak.probes._interpreter import BlockCounter, read_allocated_blocks, read_tracemalloc_bytes
from otel_memleak.probes._limit import read_limit
from otel_memleak.probes._malloc import MallocReading, read_malloc
from otel_memleak.probes._pages import PageReading, read_pages
from otel_memleak.probes._rss import Resident, RssProbe

if TYPE_CHECKING:
    from otel_memleak.probes._host import Capability, describe_host

__all__ = [
    "BlockCounter",
    "CacheProbe",
    "CacheReading",
    "Capability",
    "MallocReading",
    "PageReading",
    "ProbeError",
    "Resident",
    "RssProbe",
    "count_asyncio_tasks",
    "describe_host",
    "read_allocated_blocks",
    "read_cgroup_limit",
    "read_limit",
    "read_malloc",
    "read_pages",
    "read_tracemalloc_bytes",
]


def __getattr__(name: str) -> Any:
    # Only `otel-memleak check` describes the host; a watched process does not load what that takes.
    if name not in ("Capability", "describe_host"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from otel_memleak.probes import _host

    return getattr(_host, name)
