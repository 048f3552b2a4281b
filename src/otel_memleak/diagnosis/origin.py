"""What kind of memory grows: Python's, native code's, or memory that was freed and not given back.

The witnesses, and what they cover (by experiment, CPython 3.10 to 3.13, glibc 2.36):

* ``sys.getallocatedblocks`` counts every block Python's object allocator handed out: those of up to
  512 bytes, which live in arenas of its own, and the larger ones, which it takes from malloc. It
  counts neither ``mmap`` nor what C code takes from malloc itself (numpy's array data, for one).
* malloc's bytes in use count the larger blocks and native code together, not the arenas.

So growth with a block for every few kilobytes is Python's, and growth of malloc without blocks is not.
Where the line runs was measured on leaks of real packages, in Python and in C: Python's grew by 32 to
4,100 bytes a block, native ones but one by more than 150,000 (the blocks of whatever else happened).
A leak of both at once, in C code that loses a reference to a wrapper and the native memory under it,
looks like Python's, unless a census has seen the wrappers: then their size is known, and the rest is
not theirs. Python objects of more than 5 KB (images, buffers) are beyond that line: only
tracing or a census of the heap tells them from native memory, and both are taken into account when
they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_memleak.detector._in_use import BLIND_BLOCK_BYTES, SMALL_BLOCK_BYTES
from otel_memleak.diagnosis._growth import Growths
from otel_memleak.diagnosis._witness import Witness
from otel_memleak.types import MB, Origin

__all__ = ["OriginVerdict", "Parts", "Witness", "classify_origin"]

_LEAST_GROWTH_BYTES: Final = MB
_DECISIVE_SHARE: Final = 0.5
_KNOWN_SHARE: Final = 0.4
"""Of the new blocks; an object may take a second one, for its attributes or for what it belongs to."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the growth went, in bytes; what is left over of it is unexplained.

    Attributes:
        python: Blocks of Python's allocator, or traced by tracemalloc.
        native: In use in malloc without blocks of Python's.
        mapped: Anonymous memory in neither allocator: ``mmap``, thread stacks, runtimes of their own.
        kept: Freed and kept by malloc.
        pinned: Arenas of Python's allocator that a burst filled and a few survivors hold.
        file: Pages of mapped files.
        shared: Shared memory.
    """

    python: float = 0.0
    native: float = 0.0
    mapped: float = 0.0
    kept: float = 0.0
    pinned: float = 0.0
    file: float = 0.0
    shared: float = 0.0


@dataclass(frozen=True, slots=True)
class OriginVerdict:
    """What kind of memory grew.

    Attributes:
        origin: ``python``, ``native``, ``fragmentation`` or ``unknown``.
        share: Its part of the growth, 0 to 1; 0 when unknown.
        advice: One clause for people; empty when there is nothing to add.
        growth_bytes: The growth that was judged, swap included.
        parts: Where it went.
    """

    origin: Origin
    share: float
    advice: str
    growth_bytes: float
    parts: Parts

    @property
    def could_be_buffers(self) -> bool:
        """Whether a census may yet find large Python objects where this says native."""
        return self.origin == "native" and self.parts.native > self.parts.mapped + self.parts.shared


def classify_origin(
    witnesses: Sequence[Witness],
    *,
    held_growth_bytes: float | None = None,
    held_growth_count: float = 0.0,
    traced_growth_bytes: float | None = None,
) -> OriginVerdict:
    """Tell what kind of memory grew over an incident.

    From six readings on the growth is that of the lower envelope (the least of the last third over the
    least of the first), so that work in progress and garbage waiting to be collected do not count.

    Args:
        witnesses: Readings over the incident, oldest first; two will do, more are better.
        held_growth_bytes: By how much containers of Python objects grew in that time, where a census of
            the heap says so. It can only speak for ``python``: a census does not see everything.
        held_growth_count: How many objects these are. Where they are what the new blocks are, more of malloc
            than they hold is not Python's.
        traced_growth_bytes: By how much what tracing windows saw grew, scaled to that time. It speaks
            both ways, as tracemalloc sees all that Python allocates. Not needed where the witnesses
            themselves carry ``traced_bytes``.

    Returns:
        The verdict; ``unknown`` when less than 1 MB grew or no kind accounts for half of it.
    """
    growth = Growths.of(witnesses)
    total = (growth.rss or 0.0) + (growth.swapped or 0.0)
    if total < _LEAST_GROWTH_BYTES:
        return OriginVerdict("unknown", 0.0, "", max(total, 0.0), Parts())
    if traced_growth_bytes is None:
        traced_growth_bytes = growth.traced
    known = held_growth_count >= _KNOWN_SHARE * max(_positive(growth.blocks), 1.0)
    parts = _split(total, growth, held_growth_bytes, traced_growth_bytes, known=known)
    origin, share = _judge(parts, total)
    advice = _advice(origin, share, parts, total, growth)
    return OriginVerdict(origin, share, advice, total, parts)


def _split(total: float, growth: Growths, held: float | None, traced: float | None, *, known: bool) -> Parts:
    file = min(_positive(growth.file), total)
    shared = min(_positive(growth.shared), total - file)
    anonymous = total - file - shared
    in_malloc = min(_positive(growth.in_use), anonymous)
    kept = min(_positive(growth.kept), anonymous - in_malloc)
    outside = anonymous - in_malloc - kept
    if traced is not None:
        python = min(_positive(traced) + _positive(growth.tracing), anonymous - kept)
        small = min(python, outside)
        large = python - small
    elif growth.in_use is None:
        return Parts(python=_python_by_blocks(anonymous, growth, held), file=file, shared=shared)
    else:
        small = min(outside, _positive(growth.blocks) * SMALL_BLOCK_BYTES)
        by_blocks = growth.blocks_account and not known
        large = in_malloc if by_blocks else min(max(_positive(held) - small, 0.0), in_malloc)
    mapped = outside - small
    pinned = min(mapped, SMALL_BLOCK_BYTES * (growth.peak_blocks - _positive(growth.blocks)))
    pinned = max(pinned, 0.0)
    return Parts(small + large, in_malloc - large, mapped - pinned, kept, pinned, file, shared)


def _python_by_blocks(anonymous: float, growth: Growths, held: float | None) -> float:
    by_blocks = anonymous if anonymous <= _positive(growth.blocks) * BLIND_BLOCK_BYTES else 0.0
    return max(by_blocks, min(_positive(held), anonymous))


def _positive(value: float | None) -> float:
    return max(value, 0.0) if value is not None else 0.0


def _judge(parts: Parts, total: float) -> tuple[Origin, float]:
    candidates: tuple[tuple[Origin, float], ...] = (
        ("python", parts.python),
        ("native", parts.native + parts.mapped + parts.shared),
        ("fragmentation", parts.kept + parts.pinned),
    )
    origin, most = max(candidates, key=lambda candidate: candidate[1])
    share = min(most / total, 1.0)
    return (origin, share) if share >= _DECISIVE_SHARE else ("unknown", 0.0)


def _advice(origin: Origin, share: float, parts: Parts, total: float, growth: Growths) -> str:
    percent = f"{100 * share:.0f} % of the growth"
    if origin == "fragmentation":
        return f"{percent} {_fragmentation(parts, growth)}"
    if origin == "native":
        return f"{percent} {_native(parts, growth)}"
    if origin == "python":
        return f"{percent} is in Python's allocator"
    if parts.file >= _DECISIVE_SHARE * total:
        return (
            f"{100 * parts.file / total:.0f} % of the growth is pages of mapped files: page cache, not a leak"
        )
    return _mixture(parts, total)


def _fragmentation(parts: Parts, growth: Growths) -> str:
    if parts.pinned > parts.kept:
        return (
            "is arenas of Python's allocator that a burst of small objects filled and a few survivors keep: "
            "make the burst smaller, or run it in a process that ends"
        )
    knobs = ["MALLOC_TRIM_THRESHOLD_=131072", "malloc_trim(0) now and then", "jemalloc through LD_PRELOAD"]
    # Every thread beyond the first may open an arena of its own; with one thread the cap changes nothing.
    if growth.thread_count > 1:
        knobs.insert(0, "MALLOC_ARENA_MAX=2")
    return (
        f"is memory that was freed and that malloc keeps: {', '.join(knobs[:-1])} or {knobs[-1]} returns it"
    )


def _native(parts: Parts, growth: Growths) -> str:
    if parts.shared > max(parts.native, parts.mapped):
        return "is shared memory (shm, tmpfs, shared mmap)"
    if parts.native >= parts.mapped:
        return "is in use in malloc without Python objects to account for it: native code"
    threads = _positive(growth.threads)
    stacks = f", among them the stacks of {threads:.0f} new threads" if threads >= 1 else ""
    return f"is mapped past both allocators: mmap, thread stacks or a native runtime{stacks}"


def _mixture(parts: Parts, total: float) -> str:
    shares = {
        "Python": parts.python,
        "native": parts.native + parts.mapped + parts.shared,
        "freed but kept": parts.kept + parts.pinned,
        "file pages": parts.file,
    }
    said = [f"{name} {100 * part / total:.0f} %" for name, part in shares.items() if part >= 0.1 * total]
    return f"no single origin: {', '.join(said)}" if said else ""
