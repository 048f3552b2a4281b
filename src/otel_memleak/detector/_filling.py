"""Growth against the filling of bounded caches: until they are full, they look like a leak.

Resident memory cannot tell a cache that fills in a straight line. A cache that says how many entries it
has taken and how many it has room for can: memory lies on a line over its entries, and that line ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from otel_memleak.detector._evidence import Evidence
from otel_memleak.detector._load import AS_WELL, EXPLAINS_UP_TO, fitness

_FEWEST_ENTRIES = 20.0
_FITS_SHARE = 0.9
_ASSUMED_LIMIT = 1.8
_SCALE = 5.0


def filling_doubt(
    evidence: Evidence, entries: Sequence[float], room: float, limit_bytes: float | None
) -> float:
    """By how much caches that fill prolong patience; one when they do not explain the growth.

    They do as far as memory lies about as close to a line over their entries as to one over time, and that
    line ends below the limit when they are full. A leak beside a cache that hardly fills would leave
    megabytes per entry, which its room multiplies beyond any limit; growth that goes on when they are full
    leaves the line.

    Args:
        evidence: A window, on either clock.
        entries: Entries taken so far at each of its points.
        room: Entries that the caches still take.
        limit_bytes: The limit, if any.
    """
    taken = entries[-1] - entries[0]
    if not taken >= _FEWEST_ENTRIES:  # not so for NaN, either
        return 1.0
    level = evidence.lows_bytes[-1]
    limit = _ASSUMED_LIMIT * level if limit_bytes is None else limit_bytes
    if level + evidence.rise_bytes / taken * room > _FITS_SHARE * limit:
        return 1.0
    ratio = fitness(evidence, entries)
    return 1.0 + _SCALE * min(1.0, max(0.0, (EXPLAINS_UP_TO - ratio) / (EXPLAINS_UP_TO - AS_WELL)))
