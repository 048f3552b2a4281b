"""Parsers of the two files that say where a process's cgroups are (see cgroups(7), proc(5))."""

from __future__ import annotations

import re
from typing import Final

from otel_memleak.records import NamedTuple

_OCTAL_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class CgroupMembership(NamedTuple):
    """One line of ``/proc/self/cgroup``.

    Attributes:
        controllers: Names of the v1 controllers of the hierarchy; empty for cgroup v2.
        path: The cgroup's path from the root of the hierarchy, as this process's cgroup namespace
            shows it (``/`` or a path beginning with ``/..`` inside a container).
        unified: Whether the line is that of cgroup v2.
    """

    controllers: frozenset[str]
    path: str
    unified: bool


class Mount(NamedTuple):
    """The fields of a line of ``/proc/self/mountinfo`` that matter for cgroups.

    Attributes:
        root: The path inside the filesystem that is mounted here; not ``/`` for bind mounts.
        mount_point: Where it is mounted.
        filesystem: ``cgroup2``, ``cgroup``, or another type.
        super_options: Options of the filesystem; for cgroup v1 its controllers are among them.
    """

    root: str
    mount_point: str
    filesystem: str
    super_options: frozenset[str]


def parse_memberships(text: str) -> list[CgroupMembership]:
    """Return what ``/proc/self/cgroup`` says; lines of another form are passed over."""
    found: list[CgroupMembership] = []
    for line in text.split("\n"):
        hierarchy, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator and path.startswith("/"):
            names = frozenset(filter(None, controllers.split(",")))
            found.append(CgroupMembership(names, path, unified=hierarchy == "0"))
    return found


def parse_mounts(text: str) -> list[Mount]:
    """Return the cgroup mounts of ``/proc/self/mountinfo``, of the many that hosts have."""
    mounts = (_parse_mount(line) for line in text.split("\n") if " - cgroup" in line)
    return [mount for mount in mounts if mount is not None]


def _parse_mount(line: str) -> Mount | None:
    # "36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw": the number of optional
    # fields before the dash varies, so the two sides are told apart first.
    left, separator, right = line.partition(" - ")
    before, after = left.split(" "), right.split(" ")
    if not separator or len(before) < 6 or len(after) < 3:
        return None
    return Mount(
        root=_unescape(before[3]),
        mount_point=_unescape(before[4]),
        filesystem=after[0],
        super_options=frozenset(after[2].split(",")),
    )


def _unescape(path: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    return _OCTAL_ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), path)
