"""The frames that threads are in, where they can be looked at.

A process forked in C (uWSGI) keeps the thread states of its parent, whose frames lie on stacks that are in
use for something else by now: `sys._current_frames` reads there what is no frame, and crashes.
Without the GIL the frames of other threads change while they are read. And in a child whose fork Python has
seen, a frame must not be asked for its caller: from CPython 3.12 on the way there leads over the C stack of a
thread that is gone, which a new thread may have by now.
"""

from __future__ import annotations

import sys
from types import FrameType

_DEEPEST = 5_000
_stale: list[bool] = []


def has_gil() -> bool:
    """Whether nothing else runs while we look: false on a free-threaded interpreter (3.13t and newer)."""
    enabled: object = getattr(sys, "_is_gil_enabled", None)
    return not callable(enabled) or bool(enabled())


def thread_frames() -> dict[int, FrameType]:
    """Innermost frame by thread identifier; empty where looking is not safe."""
    return {} if _stale or not has_gil() else sys._current_frames()


def other_stacks(thread_id: int) -> list[list[FrameType]]:
    """Of every thread but one the frames that it is in, innermost first, the innermost 5,000 at most."""
    return [_stack(innermost) for ident, innermost in thread_frames().items() if ident != thread_id]


def _stack(innermost: FrameType) -> list[FrameType]:
    stack = [innermost]
    while len(stack) < _DEEPEST and (caller := stack[-1].f_back) is not None:
        stack.append(caller)
    return stack


def forbid() -> None:
    """Look no more in this process."""
    if not _stale:
        _stale.append(True)
