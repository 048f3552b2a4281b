"""What this host lets us measure, in words: the content of ``otel-memleak check``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from otel_memleak.probes._asyncio import count_asyncio_tasks
from otel_memleak.probes._cgroup import CgroupVersion, read_cgroup
from otel_memleak.probes._errors import ProbeError
from otel_memleak.probes._interpreter import read_allocated_blocks, read_tracemalloc_bytes
from otel_memleak.probes._limit import read_host_bytes, read_limit, read_rlimit_bytes
from otel_memleak.probes._malloc import read_malloc
from otel_memleak.probes._pages import read_pages
from otel_memleak.probes._rss import RssProbe
from otel_memleak.types import MB


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that can, or cannot, be measured here.

    Attributes:
        name: Stable, for programs: ``rss``, ``limit.cgroup_v2`` and so on.
        available: Whether it can be measured in this process.
        method: Where the number comes from.
        value: What was read just now, in words; None when unavailable.
        reason: Why it cannot be measured, in words; None when available.
    """

    name: str
    available: bool
    method: str
    value: str | None = None
    reason: str | None = None


def describe_host(
    configured_bytes: int | None = None,
    *,
    proc_root: str = "/proc",
    root: str | Path = "/",
) -> list[Capability]:
    """Return what can be measured here, always all of it and in the same order. Never raises.

    Args:
        configured_bytes: The memory limit the user set, in bytes; None when not set.
        proc_root: Where procfs is mounted.
        root: Prefix of the absolute paths that ``mountinfo`` names.
    """
    return [
        _look("rss", f"{proc_root}/self/statm, or psutil outside Linux", lambda: _rss(proc_root)),
        _look(
            "limit",
            "the smallest of those below, unless configured",
            lambda: _limit(configured_bytes, proc_root, root),
        ),
        _look("limit.cgroup_v2", "memory.max", lambda: _cgroup(2, proc_root, root)),
        _look("limit.cgroup_v1", "memory.limit_in_bytes", lambda: _cgroup(1, proc_root, root)),
        _look("limit.rlimit", "RLIMIT_AS (address space, not resident memory)", _rlimit),
        _look("limit.host", "physical memory", lambda: _host(proc_root)),
        _look("page_kinds", f"{proc_root}/self/status", lambda: _pages(proc_root)),
        _look("page_size", "sysconf", lambda: f"{RssProbe(proc_root).page_size_bytes} bytes"),
        _look("malloc", "mallinfo2 of glibc", _malloc),
        _look("tracemalloc", "tracemalloc", _tracemalloc),
        _look("allocated_blocks", "sys.getallocatedblocks", _allocated_blocks),
        _look("asyncio_tasks", "the registries of asyncio.tasks", _asyncio_tasks),
        _look("psutil", "import", _psutil),
        _look("fork", "os.register_at_fork", _fork),
    ]


def _look(name: str, method: str, read: Callable[[], str]) -> Capability:
    try:
        return Capability(name, True, method, value=read())
    except ProbeError as error:
        return Capability(name, False, method, reason=str(error))
    except Exception as error:  # a report of what fails must not fail itself
        return Capability(name, False, method, reason=f"{type(error).__name__}: {error}")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / MB:,.1f} MB"


def _rss(proc_root: str) -> str:
    return _megabytes(RssProbe(proc_root).read())


def _limit(configured_bytes: int | None, proc_root: str, root: str | Path) -> str:
    limit = read_limit(configured_bytes, proc_root=proc_root, root=root)
    if limit is None:
        raise ProbeError("neither a cgroup nor an rlimit sets one, and the host's memory is unknown")
    return f"{_megabytes(limit.limit_bytes)} ({limit.source})"


def _cgroup(version: CgroupVersion, proc_root: str, root: str | Path) -> str:
    reading = read_cgroup(version, proc_root, root)
    if reading.reason is not None:
        raise ProbeError(reading.reason)
    if reading.limit_bytes is None:
        return "no limit set"
    return f"{_megabytes(reading.limit_bytes)} ({reading.path})"


def _rlimit() -> str:
    try:
        import_module("resource")
    except ImportError:
        raise ProbeError("this platform has no resource limits") from None
    limit_bytes = read_rlimit_bytes()
    return "no limit set" if limit_bytes is None else _megabytes(limit_bytes)


def _host(proc_root: str) -> str:
    host_bytes = read_host_bytes(proc_root)
    if host_bytes is None:
        raise ProbeError("none of /proc/meminfo, sysconf and psutil tells")
    return _megabytes(host_bytes)


def _pages(proc_root: str) -> str:
    pages = read_pages(proc_root)
    if pages.anonymous_bytes is None:
        raise ProbeError("the kernel does not tell anonymous from file-backed pages (Linux 4.5 does)")
    swapped = "" if pages.swapped_bytes is None else f", {_megabytes(pages.swapped_bytes)} swapped"
    return f"{_megabytes(pages.anonymous_bytes)} anonymous{swapped}"


def _malloc() -> str:
    reading = read_malloc()
    if reading is None:
        raise ProbeError("malloc is not that of glibc 2.33 or later")
    return f"{_megabytes(reading.in_use_bytes)} in use, {_megabytes(reading.kept_free_bytes)} kept free"


def _tracemalloc() -> str:
    import_module("tracemalloc")  # the reading swallows why it is absent; here the reason is wanted
    traced = read_tracemalloc_bytes()
    return (
        "not tracing" if traced is None else f"{_megabytes(traced[0])} traced, peak {_megabytes(traced[1])}"
    )


def _allocated_blocks() -> str:
    blocks = read_allocated_blocks()
    if blocks is None:
        raise ProbeError(f"{sys.implementation.name} does not count them with this allocator")
    return f"{blocks:,} blocks"


def _asyncio_tasks() -> str:
    if "asyncio.tasks" not in sys.modules:
        return "asyncio is not in use here"
    tasks = count_asyncio_tasks()
    if tasks is None:
        raise ProbeError("no running event loop is to be seen from outside its thread")
    return f"{tasks:,} tasks"


def _psutil() -> str:
    import psutil

    return str(psutil.__version__)


def _fork() -> str:
    if not hasattr(os, "register_at_fork"):
        raise ProbeError("this platform has no fork")
    return "a forked child starts afresh"
