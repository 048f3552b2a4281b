"""Recording with memray: whether it may be done here, and doing it.

memray sets a profile function in every thread, and takes it away again. CPython can crash in that:

* 3.12, with memray up to 1.20.0, which does it by a loop of its own over the threads
  (https://github.com/bloomberg/memray/issues/999, fixed by #1000);
* 3.13 before 3.13.10 and 3.14.0, when a thread ends in that very moment
  (https://github.com/python/cpython/issues/137400).

There it is not done at all. On 3.10 and 3.11 more than two thousand recordings beside threads that are
born, die, fork and run event loops did no harm.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from typing import Any, Final, Protocol

_NEEDED_BYTES: Final = 256 * 1024 * 1024
"""What the process that reads a recording may take: symbols of large libraries, 100 MB measured."""
_MEMRAY_SAFE_ON_3_12: Final = (1, 20, 1)
_UNSAFE_BEFORE: Final = {(3, 13): (3, 13, 10), (3, 14): (3, 14, 1)}
_RECORD_MEMORY_EVERY_MS: Final = 1000

_abandoned: list[object] = []
"""Recorders inherited over a fork: memray has switched them off there, and they must not be finalised."""


def why_not(headroom_bytes: float | None = None) -> str:
    """Tell in words why memray cannot be used in this process; empty when it can.

    Args:
        headroom_bytes: Memory left until the limit; None when there is none.
    """
    if sys.platform != "linux":
        return "native recording is for Linux"
    version = _memray_version()
    if version is None:
        return "memray is not installed (extra `native`)"
    unsafe = _why_unsafe(sys.version_info[:3], version)
    if unsafe:
        return unsafe
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "memray needs the GIL"
    if "greenlet" in sys.modules:
        return "memray does not follow greenlets reliably"
    if threading.getprofile() is not None or sys.getprofile() is not None:
        return "a profiler is on, and memray would replace it"
    if headroom_bytes is not None and headroom_bytes < _NEEDED_BYTES:
        return "too little memory is left to read a native recording"
    return "" if _is_python(sys.executable) else "no Python interpreter to read a native recording with"


def _memray_version() -> tuple[int, ...] | None:
    if importlib.util.find_spec("memray") is None:
        return None
    try:
        return tuple(int(part) for part in importlib.metadata.version("memray").split(".")[:3])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return (0,)


def _why_unsafe(python: tuple[int, ...], memray: tuple[int, ...]) -> str:
    if python[:2] == (3, 12) and memray < _MEMRAY_SAFE_ON_3_12:
        return "memray up to 1.20.0 can crash Python 3.12 when it stops"
    first_safe = _UNSAFE_BEFORE.get((python[0], python[1]))
    if first_safe is not None and python < first_safe:
        return f"Python before {'.'.join(map(str, first_safe))} can crash when memray stops"
    return ""


def _is_python(executable: str | None) -> bool:
    """Tell an interpreter from uWSGI and embedding programs, which name themselves instead."""
    return bool(executable) and os.path.basename(executable or "").startswith("python")


class Recorder(Protocol):
    """One recording of what native code allocates."""

    folder: str
    """Private to this user; holds the recording, and is removed with it."""

    @property
    def path(self) -> str:
        """The recording."""
        ...

    def start(self) -> None:
        """Begin to record."""
        ...

    def stop(self) -> None:
        """Stop; the file is complete afterwards."""
        ...

    def size_bytes(self) -> int:
        """Size of the file so far."""
        ...

    def abandon(self) -> None:
        """In a forked child: forget it without touching what is the parent's."""
        ...

    def remove(self) -> None:
        """Remove the recording."""
        ...


class MemrayRecorder:
    """A recording by memray, native stacks included, into a temporary folder."""

    def __init__(self) -> None:
        self.folder = ""
        self._tracker: Any = None

    @property
    def path(self) -> str:
        """The recording."""
        return os.path.join(self.folder, "recording")

    def start(self) -> None:
        """Begin to record. The first time costs 0.7 s of import and stops the process for 0.1 to 0.4 s."""
        memray = importlib.import_module("memray")
        self.folder = tempfile.mkdtemp(prefix="otel-memleak-")
        tracker = memray.Tracker(self.path, native_traces=True, memory_interval_ms=_RECORD_MEMORY_EVERY_MS)
        tracker.__enter__()
        self._tracker = tracker

    def stop(self) -> None:
        """Stop; the file is complete afterwards."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.__exit__(None, None, None)

    def size_bytes(self) -> int:
        """Size of the file so far; memray extends it ahead of what it writes."""
        try:
            return os.stat(self.path).st_blocks * 512
        except OSError:
            return 0

    def abandon(self) -> None:
        """In a forked child: forget it without touching what is the parent's."""
        _abandoned.append(self._tracker)
        self._tracker = None
        self.folder = ""

    def remove(self) -> None:
        """Remove the recording."""
        folder, self.folder = self.folder, ""
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
