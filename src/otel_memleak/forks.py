"""What must be told of a fork and of the end of the interpreter.

Hooks given to `os.register_at_fork` and `atexit` cannot all be taken back, so there is one of each per
process, and both reach their listeners through weak references.

uWSGI forks its workers in C, and Python's hooks run there only with ``py-call-osafterfork``. Its own hook is
followed where the `uwsgi` module can be seen, and whoever notices the new process first calls `notice`.
"""

from __future__ import annotations

import atexit
import mmap
import os
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from otel_memleak import frames
from otel_memleak.imports import wait_for_imports

if TYPE_CHECKING:

    class Listener(Protocol):
        """Something with a thread of its own."""

        def after_fork_in_child(self) -> None:
            """Start over in a process that has inherited this object but not its thread."""
            ...

        def stop(self) -> None:
            """End the thread; the interpreter is about to exit."""
            ...

    class Holder(Protocol):
        """Something that must not be in the middle of its work when the process forks."""

        def before_fork(self) -> None:
            """Wait for it, a moment at most, and keep it from beginning anew; runs in the forking thread."""
            ...

        def after_fork(self) -> None:
            """Let it go on, in the parent and in the child; runs in the forking thread."""
            ...


_holders: Final[weakref.WeakSet[Holder]] = weakref.WeakSet()
_listeners: Final[weakref.WeakSet[Listener]] = weakref.WeakSet()
_hooked: list[bool] = []
_known: dict[str, int] = {"pid": 0}
_noticing: Final[dict[int, object]] = {}
_left_alone: Final[list[Callable[[], bool]]] = []


_WIPE_ON_FORK: Final = 18  # MADV_WIPEONFORK; the mmap module has no name for it


class _PidMark:
    """Asks the kernel each time."""

    def __getitem__(self, index: int) -> int:
        return not unnoticed()

    def __setitem__(self, index: int, value: int) -> None:
        """Nothing to remember."""


def _make_mark() -> mmap.mmap | _PidMark:
    """A page that the kernel empties in every child, however it was forked; Linux 4.14 and later."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except (AttributeError, OSError, ValueError):
        return _PidMark()
    page[0] = 1
    return page


mark: Final = _make_mark()
"""``mark[0]`` is 0 in a child whose fork is still to be noticed: without a system call, which in the request
path would cost more than all the rest."""


def register(listener: Listener) -> None:
    """Tell this object of forks and of the exit, for as long as it lives."""
    if not _hooked:
        _hooked.append(True)
        # After the SDK's own hooks, because hooks run in the order of registration: its locks and threads
        # are new by the time ours are. At exit the order is reversed: we fall silent before it flushes.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before_fork, after_in_parent=_let_go, after_in_child=_after_fork)
        atexit.register(_at_exit)
        _known["pid"] = os.getpid()
    follow_uwsgi()
    _listeners.add(listener)


def unregister(listener: Listener) -> None:
    """Tell it no more."""
    _listeners.discard(listener)


def hold_through(holder: Holder) -> None:
    """Ask it to hold still during every fork that Python sees, for as long as it lives."""
    _holders.add(holder)


def hold_no_more(holder: Holder) -> None:
    """Ask it no more."""
    _holders.discard(holder)


def leave_alone(makes_no_worker: Callable[[], bool]) -> None:
    """Do nothing around forks of which this says so, such as that of a snapshot taken for a diagnosis.

    It is asked on the thread that forks, before the fork and in the child.
    """
    if makes_no_worker not in _left_alone:
        _left_alone.append(makes_no_worker)


def unnoticed() -> bool:
    """Whether this process was forked in C, so that nobody's Python hooks have run in it."""
    return bool(_hooked) and _known["pid"] != os.getpid()


def notice() -> None:
    """Make up for the hooks of a fork in C; a system call and nothing else where there was none."""
    if unnoticed():
        pid, mine = os.getpid(), object()
        # Several threads of a worker serve their first requests at once. One makes up for it, and to all that
        # it calls the fork stays unnoticed until it is done: a second one must not say otherwise meanwhile.
        if _noticing.setdefault(pid, mine) is not mine:
            return
        frames.forbid()
        _tell()
        _known["pid"] = pid
    mark[0] = 1


def follow_uwsgi() -> None:
    """Be called in uWSGI's workers, after whoever is called already; cheap to call again.

    Before CPython 3.12 the module does not exist yet when the launcher instruments uWSGI's master.
    """
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None:
        return
    previous: Callable[[], object] | None = getattr(uwsgi, "post_fork_hook", None)
    if getattr(previous, "__module__", None) == __name__:
        return

    def post_fork_hook() -> None:
        if callable(previous):
            previous()
        notice()

    setattr(uwsgi, "post_fork_hook", post_fork_hook)  # noqa: B010 - the module has no such name to the checkers


def _makes_no_worker() -> bool:
    return any(makes_no_worker() for makes_no_worker in _left_alone)


def _before_fork() -> None:
    if _makes_no_worker():
        return
    for holder in tuple(_holders):
        holder.before_fork()
    wait_for_imports()


def _let_go() -> None:
    for holder in tuple(_holders):
        holder.after_fork()


def _after_fork() -> None:
    if _makes_no_worker():
        return
    _known["pid"] = os.getpid()
    mark[0] = 1
    try:
        _tell()
    finally:
        _let_go()


def _tell() -> None:
    for listener in tuple(_listeners):
        listener.after_fork_in_child()


def _at_exit() -> None:
    for listener in tuple(_listeners):
        listener.stop()
