"""Taking the readings by which kinds of memory are told apart, and keeping a bounded number of them."""

from __future__ import annotations

import struct
from collections import deque
from typing import Any, Final

from otel_memleak.diagnosis._witness import Witness
from otel_memleak.probes import (
    PageReading,
    ProbeError,
    read_allocated_blocks,
    read_malloc,
    read_pages,
    read_tracemalloc_bytes,
)
from otel_memleak.threads import new_lock
from otel_memleak.types import Sample

_CALM_STRIDE: Final = 10
_CAPACITY: Final = 64
_SCALES: Final = (1, 8, 64, 512, 4096)
_LAYOUT: Final = struct.Struct(f"{len(Witness._fields)}d")
_NOT_READ: Final = -1.0
_WITNESSES: Final = tuple(name for name in Witness._fields if name != "time_s")
_THROUGHOUT: Final = frozenset({"traced_bytes", "tracing_bytes"})
"""Means nothing for a stretch in only part of which it was read."""


def read_witness(time_s: float, rss_bytes: int | None, proc_root: str = "/proc") -> Witness:
    """Read every witness there is, in about 0.1 ms (more where malloc has very many free chunks).

    Args:
        time_s: The time of the sample it belongs to, in seconds.
        rss_bytes: The resident set size of that sample; where the kernel says what the resident memory
            consists of, the sum of its kinds is used instead, so that the parts add up.
        proc_root: Where ``/proc`` is.

    Returns:
        The reading; what could not be read is None. Never raises.
    """
    try:
        pages = read_pages(proc_root)
    except ProbeError:
        pages = PageReading()
    malloc = read_malloc()
    blocks = read_allocated_blocks()
    traced = read_tracemalloc_bytes()
    return Witness(
        time_s=time_s,
        rss_bytes=_resident(pages, rss_bytes),
        file_bytes=pages.file_bytes,
        shared_bytes=pages.shared_bytes,
        swapped_bytes=pages.swapped_bytes,
        malloc_in_use_bytes=malloc.in_use_bytes if malloc is not None else None,
        malloc_kept_bytes=malloc.kept_free_bytes if malloc is not None else None,
        allocated_blocks=blocks,
        peak_blocks=blocks,
        traced_bytes=traced[0] if traced is not None else None,
        tracing_bytes=_tracing_bytes() if traced is not None else None,
        threads=pages.threads,
    )


def witness_of(sample: Sample) -> Witness:
    """The same from a sample for which the kinds of memory were read; read anew where they were not."""
    if sample.anonymous_bytes is None:
        return read_witness(sample.time_s, sample.rss_bytes)
    traced = read_tracemalloc_bytes()
    kinds = PageReading(sample.anonymous_bytes, sample.file_bytes, sample.shared_bytes)
    return Witness(
        time_s=sample.time_s,
        rss_bytes=_resident(kinds, sample.rss_bytes),
        file_bytes=sample.file_bytes,
        shared_bytes=sample.shared_bytes,
        swapped_bytes=sample.swapped_bytes,
        malloc_in_use_bytes=sample.malloc_in_use_bytes,
        malloc_kept_bytes=sample.malloc_kept_bytes,
        allocated_blocks=sample.allocated_blocks,
        peak_blocks=sample.allocated_blocks,
        traced_bytes=traced[0] if traced is not None else None,
        tracing_bytes=_tracing_bytes() if traced is not None else None,
        threads=sample.threads,
    )


def _tracing_bytes() -> int:
    import tracemalloc  # not there in every sub-interpreter; it is when something is traced

    return tracemalloc.get_tracemalloc_memory()


def _resident(pages: PageReading, rss_bytes: int | None) -> int | None:
    kinds = (pages.anonymous_bytes, pages.file_bytes, pages.shared_bytes)
    known = [kind for kind in kinds if kind is not None]
    return sum(known) if len(known) == len(kinds) else rss_bytes


class Witnessing:
    """Takes a reading for every sample while growth is suspected, else for every tenth; for two threads."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._series = WitnessSeries()
        self._samples = 0

    def observe(self, sample: Sample, growing: bool) -> Witness | None:
        """Take in a sample; None where it was passed over."""
        self._samples += 1
        if not growing and (self._samples - 1) % _CALM_STRIDE:
            return None
        witness = witness_of(sample)
        self.offer(witness)
        return witness

    def offer(self, witness: Witness) -> None:
        """Take in a reading."""
        with self._lock:
            self._series.offer(witness)

    def readings(self, since_s: float) -> list[Witness]:
        """What there is since then, oldest first."""
        with self._lock:
            return self._series.readings(since_s)


class WitnessSeries:
    """The readings of a process's life, at most 320 of them: the finer, the more recent.

    Kept on five scales: the last 64 readings, and the last 64 stretches of 8, 64, 512 and 4096 readings
    (at one a minute: an hour, 8 hours, 3 days, 22 days, half a year). A stretch keeps the least of every
    witness (and of the blocks the most besides): what is left when work in progress is done, whenever in
    the stretch that was. Picking single readings would take them at random points of every cycle of the
    application.
    """

    __slots__ = ("_scales",)

    def __init__(self) -> None:
        self._scales = tuple(_Scale(readings) for readings in _SCALES)

    def offer(self, witness: Witness) -> None:
        """Take in the next reading."""
        for scale in self._scales:
            scale.offer(witness)

    def readings(self, since_s: float = float("-inf")) -> list[Witness]:
        """What there is since then, on the finest scale that reaches so far back, oldest first.

        Args:
            since_s: The onset of an incident, on the sample clock; default the first reading.
        """
        scale = next((scale for scale in self._scales if scale.reaches(since_s)), self._scales[-1])
        return [witness for witness in scale.stretches() if witness.time_s >= since_s]


class _Scale:
    """Stretches that are complete are packed: a block of memory each, where their numbers would take a dozen.

    Blocks of our own would pass for what the application's Python code keeps.
    """

    __slots__ = ("_complete", "_done", "_in_last", "_last", "_per_stretch")

    def __init__(self, per_stretch: int) -> None:
        self._per_stretch = per_stretch
        self._in_last = 0
        self._complete = True
        self._last: Witness | None = None
        self._done: deque[bytes] = deque(maxlen=_CAPACITY - 1)

    def offer(self, witness: Witness) -> None:
        last = self._last
        if last is not None and self._in_last < self._per_stretch:
            self._last = least(last, witness)
            self._in_last += 1
            return
        if last is not None:
            self._complete = self._complete and len(self._done) < _CAPACITY - 1
            self._done.append(_packed(last))
        self._last, self._in_last = witness, 1

    def reaches(self, time_s: float) -> bool:
        return self._complete or _unpacked(self._done[0]).time_s <= time_s

    def stretches(self) -> list[Witness]:
        """All there are, oldest first."""
        return [*map(_unpacked, self._done), *(() if self._last is None else (self._last,))]


def _packed(witness: Witness) -> bytes:
    return _LAYOUT.pack(*(_NOT_READ if value is None else value for value in witness))


def _unpacked(packed: bytes) -> Witness:
    time_s, *values = _LAYOUT.unpack(packed)
    return Witness(time_s, *(None if value == _NOT_READ else int(value) for value in values))


def least(first: Witness, second: Witness) -> Witness:
    """Return one reading for two: of every witness the lesser, of the peak the greater, the first's time."""
    values: dict[str, Any] = {}
    for name in _WITNESSES:
        both = (getattr(first, name), getattr(second, name))
        known = [value for value in both if value is not None]
        pick = max if name == "peak_blocks" else min
        enough = 2 if name in _THROUGHOUT else 1
        values[name] = pick(known) if len(known) >= enough else None
    return Witness(time_s=first.time_s, **values)
