"""gRPC, which a fork interrupts in the middle of its calls.

Its core has the C library tell it of every fork, ends its threads before and starts them anew afterwards, in
the parent as well as in the child. A call that is under way meanwhile may never be answered: it ends with its
deadline, and where it has none, not at all. So a snapshot waits for a moment without calls, of which an
exporter leaves plenty; where there is none, or nobody could tell, the heap is looked at from inside.

The threads in the child run without Python and wait for nothing that happens; they are to be left alone with
what they wait with, because they abort the process when it is gone.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from otel_memleak.frames import other_stacks, thread_frames
from otel_memleak.threads import get_ident, sleep

_PATIENCE_S: Final = 2.0
_BETWEEN_LOOKS_S: Final = 0.002

_SERVER: Final = "grpc._server"
_CLIENT: Final = "grpc._channel"
_BETWEEN_CALLS: Final = ("_poll_connectivity", "_deliver")
"""What of a client's code runs while no call is under way, too."""

_ASYNCHRONOUS: Final = "(_poll_wrapper)"
"""How the name of the thread ends that waits for all calls of `grpc.aio`: they are in no frame."""


def grpc_is_loaded() -> bool:
    """Whether its core is in this process, and would have threads of its own in a snapshot."""
    return "grpc._cython.cygrpc" in sys.modules


def wait_for_quiet(
    should_stop: Callable[[], bool] = lambda: False, *, clock_s: Callable[[], float] = time.monotonic
) -> bool:
    """Wait until no call of gRPC's is under way, for two seconds at most.

    Of a server nobody knows: calls are in its core before Python hears of them. Neither of asynchronous ones.
    What cannot be seen at all: a stream whose next message nobody waits for just now, and calls that other
    libraries make in C.

    Args:
        should_stop: Asked all the time; True ends it.
        clock_s: Monotonic seconds.

    Returns:
        Whether there is none.
    """
    if not grpc_is_loaded():
        return True
    if not thread_frames() or any(one.name.endswith(_ASYNCHRONOUS) for one in threading.enumerate()):
        return False
    end_s = clock_s() + _PATIENCE_S
    while modules := _in_use():
        if _SERVER in modules or clock_s() >= end_s or should_stop():
            return False
        sleep(_BETWEEN_LOOKS_S)
    return True


def _in_use() -> set[str]:
    """Modules of gRPC that other threads are in because of a call."""
    return {
        module
        for stack in other_stacks(get_ident())
        for frame in stack
        if (module := frame.f_globals.get("__name__")) in (_CLIENT, _SERVER)
        and frame.f_code.co_name not in _BETWEEN_CALLS
    }
