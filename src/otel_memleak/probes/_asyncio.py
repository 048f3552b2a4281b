"""How many asyncio tasks are unfinished, counted from a thread that runs no event loop.

asyncio keeps its tasks in a different place in every other release:

* 3.10 and 3.11: ``asyncio.tasks._all_tasks``, a ``WeakSet``.
* 3.12 and 3.13: ``_scheduled_tasks``, a ``WeakSet``, and ``_eager_tasks``, a set of those in their
  first eager step.
* from 3.14: linked lists of the threads, in C, reached only by ``all_tasks(loop)``, which is safe to
  call from any thread. It wants the loop, so the running loops are found first, by looking at the
  threads' stacks.

Nothing here calls a method of a loop, and nothing imports asyncio.
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, FrameType, ModuleType
from typing import Any, Final

from otel_memleak.frames import thread_frames

_is_done: Final = operator.methodcaller("done")
_target: Final = operator.methodcaller("__call__")  # of a weak reference

_LOOP_FRAMES: Final = {
    ("asyncio.base_events", "run_forever"): "",
    ("asyncio.runners", "run"): "_loop",
}
"""Where a running loop shows on a stack: module and function, and the attribute of ``self`` it is in.

The second finds loops written in C (uvloop), which have no frames, when ``asyncio.run`` or
``asyncio.Runner`` started them.
"""


def count_asyncio_tasks() -> int | None:
    """Return the unfinished tasks of every event loop of this interpreter; None when unknown.

    Unknown when the application has not imported asyncio, when asyncio's internals are not where they
    are expected, and from 3.14 when no loop is seen running or there is no GIL (another thread's stack
    must not be looked at then). From 3.14 tasks of a loop that is not running are not counted, and
    neither are those of a C loop started by its own ``run_forever``. Never raises.
    """
    tasks = sys.modules.get("asyncio.tasks")
    if tasks is None:
        return None
    try:
        if isinstance(getattr(tasks, "all_tasks", None), BuiltinFunctionType):
            return _count_by_loop(tasks)
        return _count_by_registry(tasks)
    except Exception:  # a count must not disturb what it counts: unknown
        return None


def _count_by_registry(tasks: ModuleType) -> int | None:
    registry = getattr(tasks, "_scheduled_tasks", None)
    if registry is None:
        registry = getattr(tasks, "_all_tasks", None)
    if registry is None:
        return None
    # The WeakSet's own iterator is Python code, which fails when another thread registers a task
    # meanwhile; a list of the references underneath is made in one step.
    references: list[weakref.ref[Any]] = list(registry.data)
    return _count_unfinished(map(_target, references)) + _count_unfinished(getattr(tasks, "_eager_tasks", ()))


def _count_unfinished(tasks: Iterable[Any]) -> int:
    # All of it runs in C without letting another thread in, so that no task is kept alive by the count
    # and then finalised in this thread instead of its own.
    alive: Iterator[Any] = filter(None, tasks)
    return sum(map(operator.not_, map(_is_done, alive)))


def _count_by_loop(tasks: ModuleType) -> int | None:
    is_gil_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if not is_gil_enabled():
        return None
    # A thread that returns from a function while its stack is looked at shows the rest of it no more.
    loops = running_loops() or running_loops() or running_loops()
    return sum(len(tasks.all_tasks(loop)) for loop in loops) if loops else None


def running_loops() -> list[Any]:
    """Return the event loops that threads of this interpreter are running now, each once."""
    found = {id(loop): loop for stack in thread_frames().values() for loop in _loops_on(stack)}
    return list(found.values())


def _loops_on(stack: FrameType | None) -> Iterator[Any]:
    while stack is not None:
        attribute = _LOOP_FRAMES.get((stack.f_globals.get("__name__", ""), stack.f_code.co_name))
        if attribute is not None:
            owner = stack.f_locals.get("self")
            loop = getattr(owner, attribute, None) if attribute else owner
            if loop is not None:
                yield loop
        stack = stack.f_back
