"""By how much each witness grew over an incident."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Final

from otel_memleak.diagnosis._witness import Witness
from otel_memleak.median import median
from otel_memleak.records import NamedTuple

_LARGE_BLOCK_BYTES: Final = 6 * 1024
"""Bytes of malloc per new block up to which the blocks account for it. Arrays that an extension loses have
one block for every 4 KB. More would be too kind: whatever else a process remembers takes blocks as well, what
we keep ourselves dozens with every sample."""
_ENVELOPE_READINGS: Final = 6
_PARTS: Final = 3
_READINGS_IN_A_PART: Final = 4
"""With fewer the least of them may be anywhere in the ups and downs. Older readings stand for eight each."""

_Reading = tuple[float, int]


class Growths(NamedTuple):
    """Growth of each witness over the incident; None where it was not read twice."""

    rss: float | None
    file: float | None
    shared: float | None
    swapped: float | None
    in_use: float | None
    kept: float | None
    blocks: float | None
    blocks_account: bool
    peak_blocks: float
    traced: float | None
    tracing: float | None
    threads: float | None
    thread_count: int

    @classmethod
    def of(cls, witnesses: Sequence[Witness]) -> Growths:
        blocks = [witness.allocated_blocks for witness in witnesses]
        in_use = [witness.malloc_in_use_bytes for witness in witnesses]
        threads = [witness.threads for witness in witnesses]
        return cls(
            rss=_growth([witness.rss_bytes for witness in witnesses]),
            file=_growth([witness.file_bytes for witness in witnesses]),
            shared=_growth([witness.shared_bytes for witness in witnesses]),
            swapped=_growth([witness.swapped_bytes for witness in witnesses]),
            in_use=_growth(in_use),
            kept=_growth([witness.malloc_kept_bytes for witness in witnesses]),
            blocks=_growth(blocks),
            blocks_account=_do_blocks_account(witnesses),
            peak_blocks=_growth([witness.peak_blocks for witness in witnesses], max) or 0.0,
            traced=_throughout([witness.traced_bytes for witness in witnesses]),
            tracing=_throughout([witness.tracing_bytes for witness in witnesses]),
            threads=_growth(threads),
            thread_count=max((count for count in threads if count is not None), default=1),
        )


def _growth(readings: Sequence[int | None], envelope: Callable[[Sequence[int]], int] = min) -> float | None:
    values = [value for value in readings if value is not None]
    if len(values) < 2:
        return None
    if len(values) < _ENVELOPE_READINGS:
        return float(values[-1] - values[0])
    third = len(values) // 3
    return float(envelope(values[-third:]) - envelope(values[:third]))


def _throughout(readings: Sequence[int | None]) -> float | None:
    """Growth of what was read every time; a tracing window in the middle says nothing about the whole."""
    return None if None in readings else _growth(readings)


def _do_blocks_account(witnesses: Sequence[Witness]) -> bool:
    """Tell whether new blocks account for the growth of malloc.

    By the median slope: blocks of a warm-up must not account for a native leak beside it, and other
    blocks come and go by the thousand (spans waiting for export). Each by all of its own readings: malloc
    is read less often than blocks are, and at four moments blocks may be anywhere in their ups and downs.
    Fluctuation by 9000 blocks still passes for growth in one of ten incidents of 9 MB; it takes more
    growth to be surer. And steadily: 7,000 blocks at once, of modules loaded on the way, would account
    for a native leak of 57 MB.
    """
    used = [(one.time_s, one.malloc_in_use_bytes) for one in witnesses if one.malloc_in_use_bytes is not None]
    count = [(one.time_s, one.allocated_blocks) for one in witnesses if one.allocated_blocks]
    if len(used) < 2 or len(count) < 2:
        return False
    return _slope(used) <= _slope(count) * _LARGE_BLOCK_BYTES and _steadily(used, count)


def _steadily(used: Sequence[_Reading], count: Sequence[_Reading]) -> bool:
    """Whether blocks come in every part of the time in which malloc grows, as many as account for it.

    By the least of each part: how many blocks there are when work in progress is done. A first alert and all
    it takes are 3,000 blocks at once: they must not account for what malloc grew before and after.
    """
    if len(count) < _READINGS_IN_A_PART * _PARTS:
        return True
    parts = [
        (min(inside), min(blocks))
        for inside, blocks in zip(_parts(used), _parts(count, used), strict=True)
        if inside and blocks
    ]
    steps = [(b - a, m - n) for (a, n), (b, m) in pairwise(parts) if b > a]
    return all(grown <= made * _LARGE_BLOCK_BYTES for grown, made in steps)


def _parts(readings: Sequence[_Reading], over: Sequence[_Reading] | None = None) -> list[list[int]]:
    """Values in each third of the time that they, or others, span."""
    over = readings if over is None else over
    start_s, length_s = over[0][0], max(over[-1][0] - over[0][0], 1e-9)
    parts: list[list[int]] = [[] for _ in range(_PARTS)]
    for time_s, value in readings:
        place = (time_s - start_s) / length_s * _PARTS
        if 0.0 <= place <= _PARTS:
            parts[min(int(place), _PARTS - 1)].append(value)
    return parts


def _slope(readings: Sequence[_Reading]) -> float:
    """The Theil-Sen slope per second: the median of the slopes of all pairs."""
    pairs = combinations(readings, 2)
    slopes = [(after - before) / (t1 - t0) for (t0, before), (t1, after) in pairs if t1 > t0]
    return median(slopes) if slopes else 0.0
