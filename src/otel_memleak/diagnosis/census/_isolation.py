"""What a snapshot does to itself before it looks at anything: it gives up all that it shares."""

from __future__ import annotations

import contextlib
import gc
import math
import resource

from otel_memleak.diagnosis.census._libc import Libc
from otel_memleak.diagnosis.census._limits import CensusBudget

_MOST_EXPENDABLE = b"1000"


def isolate(libc: Libc, kept_fd: int, budget: CensusBudget, address_space_bytes: int) -> None:
    """Let go of the application's descriptors, and be the first to be killed and the last to be run.

    Args:
        libc: Calls that keep the GIL.
        kept_fd: The descriptor to keep.
        budget: What the snapshot may use.
        address_space_bytes: Size of the address space at the fork.
    """
    gc.disable()
    libc.die_with_parent()
    # First, because what the application closes now stays open for its peer until it is closed here.
    libc.close_all_but(kept_fd)
    libc.put(b"/proc/self/oom_score_adj", _MOST_EXPENDABLE)
    libc.leave_no_core()
    libc.give_way()
    _limit(resource.RLIMIT_CORE, 0)
    # Signals are blocked, but the hard limit kills: an endless loop ends here even if the parent is gone.
    _limit(resource.RLIMIT_CPU, math.ceil(1.5 * budget.cpu_s))
    if address_space_bytes:
        _limit(resource.RLIMIT_AS, address_space_bytes + budget.memory_bytes)


def _limit(which: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
