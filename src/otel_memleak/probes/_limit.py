"""The memory limit that will end this process, and who set it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from otel_memleak.probes._cgroup import read_cgroup_limit
from otel_memleak.probes._files import parse_bytes, read_text
from otel_memleak.types import MemoryLimit

_Source = Literal["cgroup", "rlimit"]

_FIRST_LINES: Final = 8
"""Of ``meminfo``: the total has always been the first."""


def parse_mem_total_bytes(meminfo: str) -> int | None:
    """Return the physical memory from the text of ``/proc/meminfo``, in bytes; None if it is not there."""
    for line in meminfo.split("\n", _FIRST_LINES):
        if line.startswith("MemTotal:"):
            fields = line.split()
            kib = parse_bytes(fields[1]) if fields[2:] == ["kB"] else None
            return kib * 1024 if kib else None
    return None


def read_host_bytes(proc_root: str = "/proc") -> int | None:
    """Return the physical memory of the host, in bytes; None if it is unknown.

    ``/proc/meminfo`` comes first because container runtimes (lxcfs) may present a smaller one there.
    """
    meminfo = read_text(os.path.join(proc_root, "meminfo"))
    total_bytes = parse_mem_total_bytes(meminfo) if meminfo is not None else None
    return total_bytes or _sysconf_host_bytes() or _psutil_host_bytes()


def _sysconf_host_bytes() -> int | None:
    try:
        total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return total_bytes if total_bytes > 0 else None


def _psutil_host_bytes() -> int | None:
    try:
        import psutil

        return int(psutil.virtual_memory().total) or None
    except Exception:  # absent, broken or refused: the host's size is then unknown
        return None


def read_rlimit_bytes() -> int | None:
    """Return the soft ``RLIMIT_AS`` of this process, in bytes; None if there is none.

    It bounds address space, which is always more than resident memory: the process fails *before* its
    resident memory is this large. A forecast against it is therefore late, never early. ``RLIMIT_RSS``
    is not read: Linux has ignored it since 2.4.30.
    """
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        unlimited = resource.RLIM_INFINITY
    except Exception:  # no such module (Windows) or no such limit: nothing bounds the process this way
        return None
    return None if soft == unlimited or soft <= 0 else soft


def read_limit(
    configured_bytes: int | None = None,
    *,
    proc_root: str = "/proc",
    root: str | Path = "/",
) -> MemoryLimit | None:
    """Return the memory limit of this process; None if nothing is known.

    A configured limit wins. Otherwise the smallest of the cgroup's limit and ``RLIMIT_AS`` counts,
    when it is below the host's physical memory; a limit the host cannot even fill is no limit, and
    the answer is then the host's memory.

    Args:
        configured_bytes: The limit the user set, in bytes; None when not set.
        proc_root: Where procfs is mounted.
        root: Prefix of the absolute paths that ``mountinfo`` names.
    """
    if configured_bytes is not None:
        return MemoryLimit(configured_bytes, "configured")
    host_bytes = read_host_bytes(proc_root)
    return choose_limit(read_cgroup_limit(proc_root, root), read_rlimit_bytes(), host_bytes)


def choose_limit(
    cgroup_bytes: int | None, rlimit_bytes: int | None, host_bytes: int | None
) -> MemoryLimit | None:
    """Return the limit that is reached first, from what each side says in bytes (None: says nothing).

    At a tie the cgroup is named: it kills, where ``RLIMIT_AS`` only refuses.
    """
    candidates: list[tuple[int, _Source]] = []
    if cgroup_bytes is not None:
        candidates.append((cgroup_bytes, "cgroup"))
    if rlimit_bytes is not None:
        candidates.append((rlimit_bytes, "rlimit"))
    if candidates:
        limit_bytes, source = min(candidates)
        if host_bytes is None or limit_bytes < host_bytes:
            return MemoryLimit(limit_bytes, source)
    return MemoryLimit(host_bytes, "host") if host_bytes is not None else None
