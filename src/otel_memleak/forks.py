"""What must be told of a fork and of the end of the interpreter.

Hooks given to `os.register_at_fork` and `atexit` cannot all be taken back, so there is one of each per
process, and both reach their listeners through weak references.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from typing import Final, Protocol


class Listener(Protocol):
    """Something with a thread of its own."""

    def after_fork_in_child(self) -> None:
        """Start over in a process that has inherited this object but not its thread."""
        ...

    def stop(self) -> None:
        """End the thread; the interpreter is about to exit."""
        ...


_listeners: Final[weakref.WeakSet[Listener]] = weakref.WeakSet()
_hooked: list[bool] = []
_left_alone: Final[list[Callable[[], bool]]] = []


def register(listener: Listener) -> None:
    """Tell this object of forks and of the exit, for as long as it lives."""
    if not _hooked:
        _hooked.append(True)
        # After the SDK's own hooks, because hooks run in the order of registration: its locks and threads
        # are new by the time ours are. At exit the order is reversed: we fall silent before it flushes.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
        atexit.register(_at_exit)
    _listeners.add(listener)


def unregister(listener: Listener) -> None:
    """Tell it no more."""
    _listeners.discard(listener)


def leave_alone(is_no_worker: Callable[[], bool]) -> None:
    """Do nothing in forked children of which this says so, such as a snapshot taken for a diagnosis."""
    if is_no_worker not in _left_alone:
        _left_alone.append(is_no_worker)


def _after_fork() -> None:
    if any(is_no_worker() for is_no_worker in _left_alone):
        return
    for listener in tuple(_listeners):
        listener.after_fork_in_child()


def _at_exit() -> None:
    for listener in tuple(_listeners):
        listener.stop()
