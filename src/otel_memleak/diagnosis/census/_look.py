"""One look at the heap, from the roots to the suspects; the same in a snapshot and in the process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from otel_memleak.diagnosis.census._rank import rank
from otel_memleak.diagnosis.census._roots import add_modules, add_stacks, add_thread_data, add_unreached
from otel_memleak.diagnosis.census._summary import Summary, summarise
from otel_memleak.diagnosis.census._walk import Walker
from otel_memleak.types import Suspect


@dataclass(frozen=True, slots=True)
class Found:
    """What one look saw.

    Attributes:
        summary: For the next look to compare with.
        objects: Objects counted.
        bytes_seen: Their size, in bytes.
        suspects: What grew since the earlier looks, worst first.
        cut_short: Why not everything was seen; empty when it was.
    """

    summary: Summary
    objects: int
    bytes_seen: int
    suspects: tuple[Suspect, ...]
    cut_short: str


Pace = Callable[[], str]
"""Called after every batch: the reason to stop now, or an empty string."""


def look(
    time_s: float,
    earlier: Sequence[bytes],
    growth_bytes_per_hour: float | None,
    *,
    pace: Pace,
    stacks: Sequence[Sequence[Any]],
    tracked: list[object] | None,
    pinned: Sequence[object] = (),
    walker: Walker | None = None,
) -> Found:
    """Walk the heap and compare it with what it was.

    Args:
        time_s: When this is, on the caller's clock.
        earlier: Encoded summaries of earlier looks, oldest first.
        growth_bytes_per_hour: Growth that suspects are measured against; None for what the looks show.
        pace: Says when to stop.
        stacks: Frames of each thread, innermost first.
        tracked: All objects the collector knows; None to leave out what no module leads to.
        pinned: Thread-local data of other threads.
        walker: What to walk with; None for one that may do all a copy of the process may do.
    """
    walker = walker or Walker(may_peek=True)
    cut_short = _walk(_steps(walker, stacks, tracked, pinned), walker, tracked, pace)
    summary = summarise(walker.root, time_s, complete=not cut_short)
    objects, size = _totals(walker)
    walker.root.dismantle()
    known = [one for one in map(Summary.decode, earlier) if one is not None]
    suspects = rank([*known, summary], growth_bytes_per_hour)
    return Found(summary, objects, size, suspects, cut_short)


def _walk(steps: Iterator[None], walker: Walker, tracked: list[object] | None, pace: Pace) -> str:
    try:
        for _ in steps:
            reason = pace()
            if reason:
                walker.abandon()
                return reason
    except MemoryError:
        walker.abandon()
        if tracked is not None:
            tracked.clear()
        return "its memory budget was used up"
    return ""


def _steps(
    walker: Walker,
    stacks: Sequence[Sequence[Any]],
    tracked: list[object] | None,
    pinned: Sequence[object],
) -> Iterator[None]:
    yield from add_modules(walker)
    add_stacks(walker, stacks)
    yield from walker.run()
    add_thread_data(walker, pinned)
    if tracked is not None:
        yield from add_unreached(walker, tracked)
    yield from walker.run()


def _totals(walker: Walker) -> tuple[int, int]:
    objects = size = 0
    nodes = [walker.root]
    for node in nodes:
        nodes.extend(node.children.values())
        objects += node.count + (0 if node.inside is None else node.inside.count)
        size += node.held_bytes
    return objects, size


def deadline_pace(
    seconds: float,
    cpu_s: float,
    clock: Callable[[], float] = time.monotonic,
    cpu_clock: Callable[[], float] = time.process_time,
) -> Pace:
    """Stop after some seconds, or some seconds of CPU time, whichever comes first."""
    end_s, cpu_end_s = clock() + seconds, cpu_clock() + cpu_s
    return lambda: "it took too long" if clock() >= end_s or cpu_clock() >= cpu_end_s else ""


def tracked_objects() -> list[object]:
    """Everything the collector knows of, also what was frozen; for a snapshot only."""
    gc.unfreeze()
    return gc.get_objects()
