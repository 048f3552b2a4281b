"""By how much each witness grew over an incident."""

# Annotations are evaluated: as texts, each would be compiled when a named tuple is made of them.

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from otel_memleak.diagnosis._witness import Witness
from otel_memleak.median import median

_LARGE_BLOCK_BYTES: Final = 5 * 1024
"""Bytes of malloc per new block up to which the blocks account for it. Beside a leak at 300 KB/s the
blocks of the OpenTelemetry SDK alone came to one for every 6 to 9 KB."""
_ENVELOPE_READINGS: Final = 6


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
    def of(cls, witnesses: Sequence[Witness]) -> "Growths":
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
            blocks_account=_do_blocks_account(in_use, blocks),
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


def _do_blocks_account(in_use: Sequence[int | None], blocks: Sequence[int | None]) -> bool:
    """Tell whether new blocks account for the growth of malloc.

    By the median slope: blocks of a warm-up must not account for a native leak beside it, and other
    blocks come and go by the thousand (spans waiting for export). Fluctuation by 9000 blocks still passes
    for growth in one of ten incidents of 9 MB; it takes more growth to be surer.
    """
    both = [(used, count) for used, count in zip(in_use, blocks, strict=True) if used is not None and count]
    if len(both) < 2:
        return False
    grown = _slope([used for used, _ in both])
    return grown <= _slope([count for _, count in both]) * _LARGE_BLOCK_BYTES


def _slope(values: Sequence[int]) -> float:
    """The Theil-Sen slope: the median of the slopes of all pairs."""
    pairs = combinations(enumerate(values), 2)
    return median((after - before) / (j - i) for (i, before), (j, after) in pairs)
