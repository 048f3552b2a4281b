"""What kind of pages the resident memory consists of, and what has left it for swap."""

from __future__ import annotations

import os

from otel_memleak.probes._errors import ProbeError, in_words
from otel_memleak.probes._files import parse_bytes, read_bytes
from otel_memleak.records import NamedTuple


class PageReading(NamedTuple):
    """The kinds of memory of this process. None where the kernel does not say (before 4.5; gVisor).

    Attributes:
        anonymous_bytes: Resident heap, stacks and private mappings, including what a forked child
            still shares with its parent. A leak in Python or C is here.
        file_bytes: Resident pages of mapped files (libraries, ``mmap``). The kernel takes them back
            when memory is short: growth here is no leak.
        shared_bytes: Resident shared memory (``shm_open``, tmpfs, shared anonymous mappings).
        swapped_bytes: Anonymous memory in swap. A falling RSS with this rising is no recovery.
        threads: Threads of the process.
    """

    anonymous_bytes: int | None = None
    file_bytes: int | None = None
    shared_bytes: int | None = None
    swapped_bytes: int | None = None
    threads: int | None = None


def parse_status(content: bytes) -> PageReading:
    """Return the kinds of memory from the content of ``/proc/<pid>/status``; a field not there is None."""
    threads = _field(content, b"\nThreads:")
    return PageReading(
        _parse_kib(_field(content, b"\nRssAnon:")),
        _parse_kib(_field(content, b"\nRssFile:")),
        _parse_kib(_field(content, b"\nRssShmem:")),
        _parse_kib(_field(content, b"\nVmSwap:")),
        parse_bytes(threads.decode("ascii", "replace")),
    )


def _field(content: bytes, name: bytes) -> bytes:
    """What follows a name at the beginning of a line, but for the first; empty where there is none."""
    return content.partition(name)[2].partition(b"\n")[0]


def _parse_kib(field: bytes) -> int | None:
    number, _, unit = field.strip().partition(b" ")
    kib = parse_bytes(number.decode("ascii", "replace")) if unit.strip() == b"kB" else None
    return kib * 1024 if kib is not None else None


def read_pages(proc_root: str = "/proc") -> PageReading:
    """Return the kinds of memory of this process, in one read of about 15 µs.

    Raises:
        ProbeError: ``/proc/self/status`` cannot be read.
    """
    path = os.path.join(proc_root, "self", "status")
    try:
        return parse_status(read_bytes(path))
    except (OSError, ValueError) as error:
        raise ProbeError(f"{path}: {in_words(error)}") from error
