"""The only code that looks at the operating system and the interpreter.

Every probe reads *this* process, at the moment it is called, and keeps nothing between two calls that a
fork could make wrong. A reading that fails raises :class:`ProbeError` and nothing else; a quantity that
is normally absent (no limit set, tracing off) is None.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from otel_memleak.probes._asyncio import count_asyncio_tasks
    from otel_memleak.probes._caches import CacheProbe, CacheReading
    from otel_memleak.probes._cgroup import read_cgroup_limit
    from otel_memleak.probes._errors import ProbeError
    from otel_memleak.probes._host import Capability, describe_host
    from otel_memleak.probes._interpreter import (
        BlockCounter,
        count_modules,
        read_allocated_blocks,
        read_tracemalloc_bytes,
    )
    from otel_memleak.probes._limit import read_limit
    from otel_memleak.probes._malloc import MallocReading, read_malloc
    from otel_memleak.probes._pages import PageReading, read_pages
    from otel_memleak.probes._rss import Resident, RssProbe

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
    "count_modules",
    "describe_host",
    "read_allocated_blocks",
    "read_cgroup_limit",
    "read_limit",
    "read_malloc",
    "read_pages",
    "read_tracemalloc_bytes",
]


_HOMES: Final = {
    "BlockCounter": "_interpreter",
    "CacheProbe": "_caches",
    "CacheReading": "_caches",
    "Capability": "_host",
    "MallocReading": "_malloc",
    "PageReading": "_pages",
    "ProbeError": "_errors",
    "Resident": "_rss",
    "RssProbe": "_rss",
    "count_asyncio_tasks": "_asyncio",
    "count_modules": "_interpreter",
    "describe_host": "_host",
    "read_allocated_blocks": "_interpreter",
    "read_cgroup_limit": "_cgroup",
    "read_limit": "_limit",
    "read_malloc": "_malloc",
    "read_pages": "_pages",
    "read_tracemalloc_bytes": "_interpreter",
}


def __getattr__(name: str) -> Any:
    # A process loads what it is watched by, and one part after the other.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
