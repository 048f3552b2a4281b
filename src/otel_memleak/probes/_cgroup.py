"""The memory limit of the control groups this process lives in.

A cgroup's limit holds for everything below it, so the limit that counts is the smallest from the
process's own cgroup up to the top of what is mounted. Reported is the limit that kills: ``memory.max``
of cgroup v2 and ``memory.limit_in_bytes`` of v1. ``memory.high`` is not: it throttles.

Where only the container's own cgroup is visible, limits set above it (on a Kubernetes pod, by an outer
slice) cannot be seen with v2; with v1 the kernel adds them up in ``hierarchical_memory_limit``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from otel_memleak.probes._files import parse_bytes, read_text
from otel_memleak.probes._mountinfo import CgroupMembership, Mount, parse_memberships, parse_mounts
from otel_memleak.records import NamedTuple

CgroupVersion = Literal[1, 2]

UNLIMITED_BYTES: Final = 1 << 62
"""No limit. v1 writes it as the largest page-aligned 63-bit number, which depends on the page size."""

_LIMIT_FILES: Final[dict[CgroupVersion, str]] = {2: "memory.max", 1: "memory.limit_in_bytes"}


class CgroupReading(NamedTuple):
    """What one version of cgroups says of this process's memory.

    Attributes:
        version: 1 or 2.
        limit_bytes: The smallest limit found, in bytes; None when none is set or none can be read.
        path: The file that sets it; None without a limit.
        reason: In words, why no limit file could be read; None when at least one was.
    """

    version: CgroupVersion
    limit_bytes: int | None = None
    path: str | None = None
    reason: str | None = None


def parse_limit(text: str) -> int | None:
    """Return the limit in the text of a limit file, in bytes; None if the text is not that of one.

    Where no limit is set (``max``, or v1's huge number) that is ``UNLIMITED_BYTES``. Zero is taken for
    a mistake: a process that is alive to read it refutes it.
    """
    if text.strip() == "max":
        return UNLIMITED_BYTES
    return min(parse_bytes(text) or 0, UNLIMITED_BYTES) or None


def parse_hierarchical_limit(text: str) -> int | None:
    """Return ``hierarchical_memory_limit`` of a v1 ``memory.stat``, in bytes; None if it is not there."""
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        if name == "hierarchical_memory_limit":
            return parse_limit(value)
    return None


def read_cgroup_limit(proc_root: str = "/proc", root: str | Path = "/") -> int | None:
    """Return the memory limit of this process's cgroups, in bytes; None when there is none to be seen.

    Both versions are looked at: on a hybrid host memory belongs to one of them and which is a matter
    of how it was booted.

    Args:
        proc_root: Where procfs is mounted.
        root: Prefix of the absolute paths that ``mountinfo`` names.
    """
    sources = _read_sources(proc_root)
    readings = (_reading(version, sources, root) for version in _LIMIT_FILES)
    return min((r.limit_bytes for r in readings if r.limit_bytes is not None), default=None)


def read_cgroup(version: CgroupVersion, proc_root: str = "/proc", root: str | Path = "/") -> CgroupReading:
    """Return what one version of cgroups says, with the reason when it says nothing. Never raises."""
    return _reading(version, _read_sources(proc_root), root)


class _Sources(NamedTuple):
    memberships: list[CgroupMembership]
    mounts: list[Mount]


_known: Final[dict[tuple[int, int], _Sources]] = {}
"""What the files said when they were last parsed: they stay the same for as long as a container runs."""


def _read_sources(proc_root: str) -> _Sources | None:
    memberships = read_text(os.path.join(proc_root, "self", "cgroup"))
    mounts = read_text(os.path.join(proc_root, "self", "mountinfo"))
    if memberships is None or mounts is None:
        return None
    key = hash(memberships), hash(mounts)
    if key not in _known:
        _known.clear()
        _known[key] = _Sources(parse_memberships(memberships), parse_mounts(mounts))
    return _known[key]


def _reading(version: CgroupVersion, sources: _Sources | None, root: str | Path) -> CgroupReading:
    if sources is None:
        return CgroupReading(version, reason="/proc/self/cgroup or mountinfo cannot be read")
    path = _memory_cgroup_path(version, sources.memberships)
    if path is None:
        return CgroupReading(version, reason=f"the process is in no v{version} memory cgroup")
    chosen = _mounts_showing(path, _memory_mounts(version, sources.mounts))
    if not chosen:
        return CgroupReading(version, reason=f"no v{version} memory hierarchy is mounted")
    return _smallest_limit(version, [d for mount in chosen for d in _directories(path, mount, root)])


def _memory_cgroup_path(version: CgroupVersion, memberships: Iterable[CgroupMembership]) -> str | None:
    for membership in memberships:
        if membership.unified if version == 2 else "memory" in membership.controllers:
            return membership.path
    return None


def _memory_mounts(version: CgroupVersion, mounts: Iterable[Mount]) -> list[Mount]:
    if version == 2:
        return [mount for mount in mounts if mount.filesystem == "cgroup2"]
    return [m for m in mounts if m.filesystem == "cgroup" and "memory" in m.super_options]


def _mounts_showing(path: str, mounts: list[Mount]) -> list[Mount]:
    """Return the mounts in which the cgroup is visible, or all of them when it is in none.

    It is in none when a cgroup namespace hides the way from one to the other (either path begins with
    ``/..``), or when the runtime invents ``/proc/self/cgroup``. What is mounted is then the container's
    own cgroup or one above it: the best there is to know.
    """
    return [mount for mount in mounts if _below(path, mount.root) is not None] or mounts


def _below(path: str, mount_root: str) -> list[str] | None:
    """Return the names leading from the mount's root down to the cgroup; None if it is not below."""
    names, above = _names(path), _names(mount_root)
    rest = names[len(above) :]
    return rest if names[: len(above)] == above and ".." not in rest else None


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _directories(path: str, mount: Mount, root: str | Path) -> Iterator[str]:
    """Yield the directories of the cgroup and of everything above it, up to the mount point."""
    top = os.path.join(root, mount.mount_point.lstrip("/"))
    names = _below(path, mount.root) or []
    for depth in range(len(names), -1, -1):
        yield os.path.join(top, *names[:depth])


def _smallest_limit(version: CgroupVersion, directories: list[str]) -> CgroupReading:
    found = list(_read_limits(version, directories))
    if not found:
        where = f"{directories[0]} or above"
        return CgroupReading(version, reason=f"no readable {_LIMIT_FILES[version]} in {where}")
    limit_bytes, path = min(found, key=lambda limit: limit[0])
    if limit_bytes == UNLIMITED_BYTES:
        return CgroupReading(version)
    return CgroupReading(version, limit_bytes, path)


def _read_limits(version: CgroupVersion, directories: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the limit in bytes, and the path, of each limit file that can be read and understood."""
    yield from _parsed(_LIMIT_FILES[version], parse_limit, directories)
    if version == 1:
        # The innermost speaks for all above it; the kernel takes 0.1 ms and more to write each.
        yield from islice(_parsed("memory.stat", parse_hierarchical_limit, directories), 1)


def _parsed(
    name: str, parse: Callable[[str], int | None], directories: list[str]
) -> Iterator[tuple[int, str]]:
    for directory in directories:
        path = os.path.join(directory, name)
        limit_bytes = parse(read_text(path) or "")
        if limit_bytes is not None:
            yield limit_bytes, path
