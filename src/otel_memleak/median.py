"""The median, without the standard library's ``statistics``.

That brings ``decimal`` and ``fractions`` along: a megabyte in every process that is watched.
"""

from __future__ import annotations

from collections.abc import Iterable


def median(values: Iterable[float]) -> float:
    """Middle of the sorted values; the mean of the two in the middle when their number is even.

    Raises:
        IndexError: There are none.
    """
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
