"""Leaks that are not bytes: threads, file descriptors, sockets and asyncio tasks that only grow.

Pure: readings in, what grows out. `otel_memleak.diagnosis._resource_reading` takes the readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

ResourceKind = Literal["thread", "descriptor", "socket", "task"]

_LEAST_GROWTH: Final[dict[ResourceKind, int]] = {"thread": 5, "descriptor": 10, "socket": 10, "task": 20}
_LEAST_RELATIVE_GROWTH: Final = 0.1
_TROUGHS: Final = 4
"""Stretches of the incident that have to stand one above the other."""
_MOST_REPORTED: Final = 5
_CAPACITY: Final = 64
OTHERS: Final = "(others)"
"""Stands in a reading for everything beyond the commonest names."""
_NOUNS: Final[dict[ResourceKind, str]] = {
    "thread": "threads running",
    "descriptor": "file descriptors of kind",
    "socket": "sockets in state",
    "task": "asyncio tasks of",
}


@dataclass(frozen=True, slots=True)
class ResourceReading:
    """How many there are of everything, by what made them. A kind that could not be read is None.

    Attributes:
        time_s: When, on the sample clock, in seconds.
        threads: By what they run, as ``module:function``.
        descriptors: By kind: ``socket``, ``pipe``, ``file``, ``eventfd`` …
        sockets: TCP sockets by state: ``ESTABLISHED``, ``CLOSE_WAIT`` …
        tasks: Unfinished asyncio tasks by coroutine.
        waits: For a coroutine of `tasks`, where one of its tasks waits.
    """

    time_s: float
    threads: Mapping[str, int] | None = None
    descriptors: Mapping[str, int] | None = None
    sockets: Mapping[str, int] | None = None
    tasks: Mapping[str, int] | None = None
    waits: Mapping[str, str] = field(default_factory=lambda: dict[str, str]())


@dataclass(frozen=True, slots=True)
class ResourceGrowth:
    """Something that only grew.

    Attributes:
        kind: ``thread``, ``descriptor``, ``socket`` or ``task``.
        name: What runs it, or of what kind or state it is.
        count: How many there are now.
        growth: By how many there are more than at the start.
        growth_per_hour: The same per hour.
        where: Where it waits, as ``file:line (function)``; empty when unknown.
    """

    kind: ResourceKind
    name: str
    count: int
    growth: int
    growth_per_hour: float
    where: str = ""

    def clause(self) -> str:
        """It in words, e.g. ``asyncio tasks of poll (shop/poll.py:8): +840/h to 1,902``."""
        waiting = f", waiting at {self.where}" if self.where else ""
        return f"{_NOUNS[self.kind]} {self.name}: +{self.growth_per_hour:,.0f}/h to {self.count:,}{waiting}"


class ResourceSeries:
    """The readings of one incident, thinned so that at most 64 are kept however long it lasts."""

    __slots__ = ("_kept", "_offered", "_stride")

    def __init__(self) -> None:
        self._kept: list[ResourceReading] = []
        self._offered = 0
        self._stride = 1

    def offer(self, reading: ResourceReading) -> None:
        """Take in the next reading; when it is full every second one goes."""
        if self._offered % self._stride == 0:
            if len(self._kept) == _CAPACITY:
                del self._kept[1::2]
                self._stride *= 2
            self._kept.append(reading)
        self._offered += 1

    def readings(self) -> list[ResourceReading]:
        """What was kept, oldest first."""
        return list(self._kept)


def growing(readings: Sequence[ResourceReading]) -> list[ResourceGrowth]:
    """Tell what only grew over an incident, the largest relative growth first, at most five.

    "Only grew" means that the least count of every quarter of the incident is above that of the quarter
    before, by 5 threads, 10 descriptors or 20 tasks and a tenth in all: pools that breathe, and growth
    that has ended, are not reported.

    Args:
        readings: Oldest first; fewer than four are no evidence.

    Returns:
        What grew. A kind that was not looked at in the first readings counts from when it was; one that is
        missing later is left out.
    """
    if len(readings) < _TROUGHS or readings[-1].time_s <= readings[0].time_s:
        return []
    kinds: tuple[tuple[ResourceKind, list[Mapping[str, int] | None]], ...] = (
        ("thread", [reading.threads for reading in readings]),
        ("descriptor", [reading.descriptors for reading in readings]),
        ("socket", [reading.sockets for reading in readings]),
        ("task", [reading.tasks for reading in readings]),
    )
    found = [growth for kind, counts in kinds for growth in _growing_of(kind, counts, readings)]
    found.sort(key=lambda growth: (-growth.growth / max(growth.count - growth.growth, 1), growth.name))
    return found[:_MOST_REPORTED]


def _growing_of(
    kind: ResourceKind, counts: Sequence[Mapping[str, int] | None], readings: Sequence[ResourceReading]
) -> list[ResourceGrowth]:
    looked_at = next((i for i, by_name in enumerate(counts) if by_name is not None), len(counts))
    readings, counts = readings[looked_at:], counts[looked_at:]
    known = [by_name for by_name in counts if by_name is not None]
    if len(known) < len(counts) or len(known) < _TROUGHS or readings[-1].time_s <= readings[0].time_s:
        return []
    hours = (readings[-1].time_s - readings[0].time_s) / 3600
    waits: Mapping[str, str] = readings[-1].waits if kind == "task" else {}
    found: list[ResourceGrowth] = []
    for name in known[-1].keys() - {OTHERS}:
        series = [by_name.get(name, 0) for by_name in known]
        growth = series[-1] - series[0]
        if _only_grows(series, _LEAST_GROWTH[kind]):
            found.append(ResourceGrowth(kind, name, series[-1], growth, growth / hours, waits.get(name, "")))
    return found


def _only_grows(series: Sequence[int], least: int) -> bool:
    size = len(series) // _TROUGHS
    # From the end, so that the latest quarter is never the one with readings to spare.
    starts = range(len(series) - _TROUGHS * size, len(series), size)
    troughs = [min(series[start : start + size]) for start in starts]
    rising = all(later > earlier for earlier, later in pairwise(troughs))
    return rising and troughs[-1] - troughs[0] >= max(least, _LEAST_RELATIVE_GROWTH * troughs[0])
