"""A look from inside, where there can be no snapshot: in slices, on a budget, and it says it saw less."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from otel_memleak.diagnosis.census._limits import CensusBudget
from otel_memleak.diagnosis.census._look import Pace, look
from otel_memleak.diagnosis.census._message import Census
from otel_memleak.diagnosis.census._walk import Walker
from otel_memleak.frames import has_gil, other_stacks
from otel_memleak.threads import get_ident, sleep

_MAX_NODES: Final = 50_000
"""A service of 1,100 modules has 28,000 shapes; where they run out, what comes later has no name."""
_ENOUGH: Final = 1024
"""Objects of one shape that are looked into; the rest is counted and taken to be like them."""
_REST: Final = 4
"""Rest after a slice, in slices: a fifth of one core at most."""


def look_in_process(
    budget: CensusBudget,
    time_s: float,
    earlier: Sequence[Census] = (),
    *,
    growth_bytes_per_hour: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    clock_s: Callable[[], float] = time.thread_time,
    sleep: Callable[[float], None] = sleep,
) -> Census:
    """Look at the heap of this process while it runs.

    Sees what modules lead to, nearest first, for ``budget.in_process_s`` seconds of work spread over five
    times as long. Does not see what only C code or a running function holds. Without the GIL it does not
    look at all: a container that another thread changes at that moment could crash the process.

    Args:
        budget: What it may cost.
        time_s: The time now, on a clock that later looks share.
        earlier: Earlier censuses, oldest first; the last two taken *from inside* are compared with.
        growth_bytes_per_hour: Retained growth of the process; suspects are measured against it.
        should_stop: Asked after every slice; True ends the look.
        clock_s: CPU seconds of the calling thread.
        sleep: For tests.
    """
    if not has_gil():
        limits = "nor was it looked at from inside, because without the GIL it changes meanwhile"
        return Census(time_s, (), 0, 0, b"", in_process=True, limits=limits)
    found = look(
        time_s,
        [one.summary for one in earlier if one.in_process][-2:],
        growth_bytes_per_hour,
        pace=_sliced_pace(budget, should_stop, clock_s, sleep),
        stacks=other_stacks(get_ident()),
        tracked=None,
        walker=Walker(may_peek=False, max_nodes=_MAX_NODES, enough=_ENOUGH),
    )
    limits = "the heap was looked at from inside: only what modules lead to"
    if found.cut_short:
        limits += f", and not all of that, because {found.cut_short}"
    return Census(
        time_s,
        found.suspects,
        found.objects,
        found.bytes_seen,
        found.summary.encode(),
        in_process=True,
        limits=limits,
    )


def _sliced_pace(
    budget: CensusBudget,
    should_stop: Callable[[], bool],
    clock_s: Callable[[], float],
    sleep: Callable[[float], None],
) -> Pace:
    worked_s = 0.0
    began_s = clock_s()

    def pace() -> str:
        nonlocal worked_s, began_s
        slice_s = clock_s() - began_s
        if slice_s < budget.slice_s:
            return ""
        worked_s += slice_s
        if should_stop():
            return "it was told to stop"
        if worked_s >= budget.in_process_s:
            return "its time was used up"
        sleep(slice_s * _REST)
        began_s = clock_s()
        return ""

    return pace
