"""Resident memory of this process: the number everything else here is about."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

from otel_memleak.probes._errors import ProbeError, in_words
from otel_memleak.probes._files import read_line
from otel_memleak.records import NamedTuple


def parse_statm(content: bytes) -> tuple[int, int | None]:
    """Return the second and the third field of ``/proc/<pid>/statm``.

    Returns:
        Resident pages, and those of them that are files and shared memory; None when that is not there.

    Raises:
        ProbeError: The content is not that of a ``statm`` file.
    """
    fields = content.split(None, 3)
    # int() alone would take signs, underscores and thousands of digits.
    if len(fields) < 2 or not fields[1].isdigit() or len(fields[1]) > 20:
        raise ProbeError(f"statm has no resident field: {content[:80]!r}")
    if len(fields) < 3 or not fields[2].isdigit() or len(fields[2]) > 20:
        return int(fields[1]), None
    return int(fields[1]), int(fields[2])


class Resident(NamedTuple):
    """Resident memory, and what comes with it in the same line.

    Attributes:
        rss_bytes: The resident set size.
        shared_bytes: Its pages of mapped files and of shared memory together; None where it is not told.
    """

    rss_bytes: int
    shared_bytes: int | None = None


def psutil_rss_bytes() -> int:
    """Return the resident memory of this process as psutil sees it, in bytes.

    The ``Process`` is made anew each time: one kept over a fork goes on measuring the parent.

    Raises:
        ProbeError: psutil is absent, broken or refused.
    """
    try:
        import psutil

        return int(psutil.Process().memory_info().rss)
    except Exception as error:  # psutil fails in ways of its own on every platform
        raise ProbeError(f"psutil: {type(error).__name__}: {error}") from error


_FALLBACK: Final = None if sys.platform.startswith("linux") else psutil_rss_bytes
# On Linux psutil reads the same /proc, by a pid that means another process when /proc belongs to another
# pid namespace: a wrong number where none is the honest answer.


def _system_page_size() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        import mmap

        return mmap.PAGESIZE


class RssProbe:
    """Reads the resident set size of the process it is called in.

    The file is opened, read and closed on every call. A descriptor kept open would save 10 µs and be
    wrong three ways: ``/proc/self`` is resolved when it is opened, so after a fork it goes on showing
    the parent (and a fork made in C runs no hook that could mend that); a daemonising application
    closes it; and its number is then given to a file of the application's.

    The price: with every descriptor of the process used up there is no reading, and
    :class:`ProbeError` says so.

    Args:
        proc_root: Where procfs is mounted.
        page_size_bytes: Bytes per page; None asks the system.
        fallback: Called for the resident bytes where procfs gives none. The default is psutil
            outside Linux and nothing on Linux.
    """

    __slots__ = ("_fallback", "_page_size_bytes", "_path")

    def __init__(
        self,
        proc_root: str = "/proc",
        page_size_bytes: int | None = None,
        *,
        fallback: Callable[[], int] | None = _FALLBACK,
    ) -> None:
        self._path = os.path.join(proc_root, "self", "statm")
        self._page_size_bytes = page_size_bytes or _system_page_size()
        self._fallback = fallback

    @property
    def page_size_bytes(self) -> int:
        """Bytes per page, by which the kernel's page count is multiplied."""
        return self._page_size_bytes

    def read(self) -> int:
        """Return the resident memory of this process, in bytes.

        Raises:
            ProbeError: The reading could not be had.
        """
        return self.read_resident().rss_bytes

    def read_resident(self) -> Resident:
        """Return the resident memory of this process and the part of it that files and shared memory are.

        The kernel keeps the count per CPU and folds it lazily: it may lag by some hundred kilobytes
        on a small host, by several megabytes on one with many CPUs.

        Raises:
            ProbeError: The reading could not be had.
        """
        try:
            rss_pages, shared_pages = parse_statm(read_line(self._path))
        except (OSError, ValueError, ProbeError) as error:
            if self._fallback is None:
                raise ProbeError(f"{self._path}: {in_words(error)}") from error
            return Resident(self._fallback())
        size = self._page_size_bytes
        return Resident(rss_pages * size, None if shared_pages is None else shared_pages * size)
