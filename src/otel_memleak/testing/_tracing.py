"""Which lines allocate the Python memory that stays: two looks by tracemalloc, a short way apart."""

from __future__ import annotations

import os
import sysconfig
import tracemalloc
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from otel_memleak.diagnosis._places import short_path

_FRAMES: Final = 12
_SITES: Final = 3
_LEAST_SHARE: Final = 0.1
_LARGEST_BLOCK_BYTES: Final = 512
_ALIGNMENT_BYTES: Final = 16
_OURS: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_PATHS: Final = tuple(map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))
_LIBRARIES: Final = (*(path + os.sep for path in _PATHS if path), _OURS, "<frozen ")


@dataclass(frozen=True, slots=True)
class Traced:
    """What Python code has allocated between two looks and not freed.

    Attributes:
        size_bytes: Bytes.
        small_blocks: Blocks of the small-object allocator among it.
        small_bytes: Their bytes, rounded up as that allocator does.
        sites: ``file:line``, worst first.
    """

    size_bytes: int
    small_blocks: int
    small_bytes: int
    sites: tuple[str, ...]


@contextmanager
def tracing() -> Generator[None, None, None]:
    """Trace allocations, unless somebody does already; stop only what was started here."""
    if tracemalloc.is_tracing():
        yield
        return
    tracemalloc.start(_FRAMES)
    try:
        yield
    finally:
        tracemalloc.stop()


def compare(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot) -> Traced:
    """Add up what the later look shows more than the earlier one."""
    more: Counter[tuple[tracemalloc.Traceback, int]] = Counter()
    for snapshot, sign in ((after, 1), (before, -1)):
        for trace in snapshot.traces:
            more[trace.traceback, trace.size] += sign
    size_bytes = small_blocks = small_bytes = 0
    by_site: Counter[str] = Counter()
    for (traceback, size), count in more.items():
        if count == 0 or traceback[-1].filename == tracemalloc.__file__:
            continue
        size_bytes += count * size
        by_site[_site(traceback)] += count * size
        if size <= _LARGEST_BLOCK_BYTES:
            small_blocks += count
            small_bytes += count * -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    worst = [site for site, size in by_site.most_common(_SITES) if size > _LEAST_SHARE * size_bytes > 0]
    return Traced(size_bytes, small_blocks, small_bytes, tuple(worst))


def _site(traceback: tracemalloc.Traceback) -> str:
    """The innermost line outside the libraries: json's own says less than the one that called it."""
    innermost_first = list(reversed(traceback))
    own = (frame for frame in innermost_first if not frame.filename.startswith(_LIBRARIES))
    frame = next(own, innermost_first[0])
    return f"{short_path(frame.filename)}:{frame.lineno}"
