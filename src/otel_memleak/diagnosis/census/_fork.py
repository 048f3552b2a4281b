"""Fork in a way that the application does not notice, and run something in the copy before anybody else does.

Only the interpreter can give the copy the GIL anew, and then hooks that others registered with
`os.register_at_fork` run in it, those registered before ours even before us; our hook never returns.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from otel_memleak.threads import get_ident

LONG_S: Final = 1000.0
"""A switch interval that no snapshot lives to see."""


@dataclass(frozen=True, slots=True)
class _Errand:
    """What a marked child is to do, and how to know it."""

    parent_pid: int
    thread_id: int
    work: Callable[[], None]


_errand: _Errand | None = None
_hooked: Final[list[bool]] = []


def is_census_fork() -> bool:
    """Whether the fork that this thread is in makes a snapshot, or has made this process one.

    For fork hooks: there is nothing to wait for before such a fork, nor anything to start after it.
    """
    errand = _errand
    return errand is not None and errand.thread_id == get_ident()


def fork_and_run(fork: Callable[[], int], work: Callable[[], None]) -> int:
    """Fork; the child does the work and exits without a trace.

    Args:
        fork: `os.fork`, or what does the same.
        work: Runs in the child, on its only thread, with all signals blocked.

    Returns:
        The child's pid.

    Raises:
        OSError: The system refused (no memory, too many processes, a sandbox).
        RuntimeError: The interpreter refused (a sub-interpreter, shutting down).
    """
    global _errand
    _register_hook()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    _errand = _Errand(os.getpid(), get_ident(), work)
    try:
        pid = fork()
        if pid == 0:
            # The hook did not know its child: the parent died meanwhile.
            os._exit(1)
        return pid
    finally:
        _errand = None
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _register_hook() -> None:
    if not _hooked:
        _hooked.append(True)
        os.register_at_fork(after_in_child=_after_in_child)


def _after_in_child() -> None:
    global _errand
    errand = _errand
    if errand is None:
        return
    if not (is_census_fork() and errand.parent_pid == os.getppid()):
        # Another thread's fork happened to fall into ours.
        _errand = None
        return
    _run_and_exit(errand)


def _run_and_exit(errand: _Errand) -> NoReturn:
    code = 1
    try:
        # Threads that other hooks have started here wait for their turn until the process is gone.
        sys.setswitchinterval(LONG_S)
        _silence_tools()
        errand.work()
        code = 0
    except BaseException:
        # Whatever it was, it must not return to the application.
        code = 1
    finally:
        os._exit(code)


def _silence_tools() -> None:
    """Tracers, profilers and the reporting of broken finalisers are code of the application's.

    A tracemalloc that is on, the application's or ours, would make the walk take many times as long.
    """
    sys.settrace(None)
    sys.setprofile(None)
    tracing = sys.modules.get("tracemalloc")
    if tracing is not None and tracing.is_tracing():
        tracing.stop()
    sys.unraisablehook = _ignore
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None:
        for tool in range(6):
            if monitoring.get_tool(tool) is not None:
                monitoring.set_events(tool, 0)


def _ignore(_: object) -> None:
    return None
