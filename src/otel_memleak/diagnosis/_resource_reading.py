"""Counting this process's threads, file descriptors and sockets by what made them.

Names of functions, classes and kinds only: no path, address or thread argument is read out.
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, cast

from otel_memleak.diagnosis._tasks import read_tasks
from otel_memleak.diagnosis.resources import OTHERS, ResourceReading
from otel_memleak.wording import looks_like_data, shorten

_MOST_NAMES: Final = 64
_MOST_DESCRIPTORS: Final = 20_000
_MOST_LINKS: Final = 2048
_MORE_SOCKETS: Final = 10
_REST: Final = 100.0
_FEWEST_TO_SCALE: Final = 32
_MOST_TABLE_BYTES: Final = 2 * 1024 * 1024
_LONGEST_STEM: Final = 40
_POOL_WORKER: Final = "concurrent.futures.thread:_worker"
_KINDS: Final = (
    ("socket:", "socket"),
    ("pipe:", "pipe"),
    ("/memfd:", "memfd"),
    ("/dev/", "device"),
    ("/proc/", "proc"),
    ("/", "file"),
)
_STATES: Final = {
    "01": "ESTABLISHED",
    "02": "SYN_SENT",
    "03": "SYN_RECV",
    "04": "FIN_WAIT1",
    "05": "FIN_WAIT2",
    "06": "TIME_WAIT",
    "07": "CLOSE",
    "08": "CLOSE_WAIT",
    "09": "LAST_ACK",
    "0A": "LISTEN",
    "0B": "CLOSING",
}


class ResourceReader:
    """Readings of one incident, which together take at most a hundredth of the time.

    Listing a host's connections takes the kernel tens of milliseconds, however few are this process's: their
    states are asked for only once there are more sockets than at first.

    Args:
        cpu_timer_s: CPU seconds of this thread.
        proc_root: Where ``/proc`` is.
    """

    def __init__(self, cpu_timer_s: Callable[[], float] = time.thread_time, proc_root: str = "/proc") -> None:
        self._cpu_timer_s = cpu_timer_s
        self._proc_root = proc_root
        self._due_s = -math.inf
        self._first_sockets = math.inf
        self._states = False

    def read(self, time_s: float, native_threads: int | None = None) -> ResourceReading | None:
        """`read_resources`, or None while the last reading is being made up for."""
        if time_s < self._due_s:
            return None
        began_s = self._cpu_timer_s()
        reading = read_resources(time_s, native_threads, self._proc_root, states=self._states)
        sockets = (reading.descriptors or {}).get("socket", 0)
        self._first_sockets = min(self._first_sockets, sockets)
        self._states = self._states or sockets >= self._first_sockets + _MORE_SOCKETS
        self._due_s = time_s + _REST * (self._cpu_timer_s() - began_s)
        return reading


def read_resources(
    time_s: float, native_threads: int | None = None, proc_root: str = "/proc", *, states: bool = True
) -> ResourceReading:
    """Count everything once; about 5 µs a descriptor, up to 2,048 of them, and 1 µs a task. Never raises.

    Args:
        time_s: The time of the reading, on the sample clock, in seconds.
        native_threads: Threads of the process as the kernel counts them, if known; those that Python
            does not know are reported as ``(not Python's)``.
        proc_root: Where ``/proc`` is.
        states: Whether to ask for the states of sockets, which takes longer than all the rest.
    """
    descriptors, inodes, share = _read_descriptors(proc_root)
    tasks, waits = read_tasks()
    return ResourceReading(
        time_s=time_s,
        threads=_read_threads(native_threads),
        descriptors=descriptors,
        sockets=_read_socket_states(inodes, share, proc_root) if states and descriptors is not None else None,
        tasks=commonest(tasks) if tasks is not None else None,
        waits=waits,
    )


def commonest(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the 64 commonest names, the rest as one."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[:_MOST_NAMES])
    rest = sum(count for _, count in ranked[_MOST_NAMES:])
    return {**kept, OTHERS: rest} if rest else kept


def _read_threads(native_threads: int | None) -> dict[str, int] | None:
    threading = sys.modules.get("threading")
    try:
        # Not enumerate(): it waits for a lock that whoever starts a thread may be holding.
        threads: list[Any] = list(getattr(threading, "_active").values())  # noqa: B009
    except Exception:  # a thread started or ended in this very moment, or another implementation
        return None
    counts = Counter(_thread_name(thread) for thread in threads)
    if native_threads is not None and native_threads > len(threads):
        counts["(not Python's)"] = native_threads - len(threads)
    return commonest(counts)


def _thread_name(thread: Any) -> str:
    try:
        attributes: dict[str, Any] = object.__getattribute__(thread, "__dict__")
    except AttributeError:
        attributes = {}
    cls = cast("type[object]", type(thread))
    name = callable_name(attributes.get("_target")) or _place(cls.__module__, cls.__qualname__)
    if name == _POOL_WORKER:
        # The executor's prefix says whose pool it is; the numbers in it would make a name of each thread.
        given = attributes.get("_name")
        stem = re.sub(r"\d+", "", given).strip("-_ ") if type(given) is str else ""
        return f"{name} [{stem[:_LONGEST_STEM]}]" if stem and not looks_like_data(str(given)) else name
    if name == "threading:Timer":
        function = callable_name(attributes.get("function"))
        return f"{name} [{function}]" if function else name
    return name


def callable_name(value: object) -> str:
    """Return ``module:qualname`` of a function, method or partial; empty for anything else.

    Nothing of the application runs: only attributes that the interpreter itself provides are read.
    """
    for _ in range(8):  # partials of partials, without trusting that they end
        kind = type(value)
        if kind is MethodType:
            value = cast(MethodType, value).__func__
        elif kind.__module__ == "functools" and kind.__qualname__ == "partial":
            value = object.__getattribute__(value, "func")
        elif kind is FunctionType or kind is BuiltinFunctionType:
            return _place(getattr(value, "__module__", None), getattr(value, "__qualname__", None))
        else:
            return ""
    return ""


def _place(module: object, name: object) -> str:
    """``module:name``; what somebody has put there instead of text is not asked what it is called."""
    parts = (part if type(part) is str and part else "?" for part in (module, name))
    return ":".join(map(shorten, parts))


def _read_descriptors(proc_root: str) -> tuple[dict[str, int] | None, set[str], float]:
    """Descriptors by kind, the inodes of the sockets among those looked at, and which share that is.

    Of more than 2,048 a part is looked at and stands for the rest: always the same numbers, so that what
    grows is descriptors and not the part's luck.
    """
    folder = os.path.join(proc_root, "self", "fd")
    numbers: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                numbers.append(entry.name)
                if len(numbers) > _MOST_DESCRIPTORS:
                    return None, set(), 1.0
    except OSError:
        return None, set(), 1.0
    chosen = _chosen(numbers)
    targets = [_link(os.path.join(folder, number)) for number in chosen]
    share = len(chosen) / max(1, len(numbers))
    counts = Counter(map(descriptor_kind, targets))
    inodes = {target[8:-1] for target in targets if target.startswith("socket:[")}
    return commonest(_scaled(counts, share)), inodes, share


def _chosen(numbers: list[str]) -> list[str]:
    """At most about 2,048 of them, by a hash that does not know who opens descriptors in turn."""
    stride = -(-len(numbers) // _MOST_LINKS)
    return (
        [n for n in numbers if (int(n) * 2654435761 % 2**32 >> 16) % stride == 0] if stride > 1 else numbers
    )


def _scaled(counts: Mapping[str, int], share: float) -> dict[str, int]:
    """What was counted, standing for the rest too, unless it is too few to do so."""
    return {name: round(n / share) if n >= _FEWEST_TO_SCALE else n for name, n in counts.items()}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


def descriptor_kind(target: str) -> str:
    """Return the kind of what a descriptor's link in ``/proc/self/fd`` points to; never a path."""
    if target.startswith("anon_inode:"):
        return re.sub(r"[^a-z_]", "", target[len("anon_inode:") :]) or "other"
    return next((kind for prefix, kind in _KINDS if target.startswith(prefix)), "other")


def _read_socket_states(inodes: set[str], share: float, proc_root: str) -> dict[str, int] | None:
    """TCP sockets by state, those looked at standing for the others."""
    if not inodes:
        return {}
    counts: Counter[str] = Counter()
    for table in ("tcp", "tcp6"):
        lines = _lines(os.path.join(proc_root, "self", "net", table))
        if lines is None:
            return None
        counts.update(socket_states(lines, inodes))
    return _scaled(counts, share)


def _lines(path: str) -> list[str] | None:
    """Lines of a table of the kernel, None when it is longer than 2 MB: it lists the whole host's."""
    try:
        with open(path, "rb", buffering=0) as file:
            content = bytearray()
            while part := file.read(65536):
                content += part
                if len(content) > _MOST_TABLE_BYTES:
                    return None
    except FileNotFoundError:  # no IPv6
        return []
    except OSError:
        return None
    return content.decode("ascii", "replace").splitlines()


def socket_states(lines: Iterable[str], inodes: set[str]) -> Iterable[str]:
    """Yield the state of each socket of ``/proc/net/tcp`` whose inode is one of these."""
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[9] in inodes:
            yield _STATES.get(fields[3].upper(), "other")
