"""Unfinished asyncio tasks by coroutine, and where they wait, seen from a thread that runs no loop.

Where asyncio keeps its tasks, and why they are only touched from C, is told in `probes._asyncio`.
"""

from __future__ import annotations

import operator
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import filterfalse, islice
from types import BuiltinFunctionType, CodeType, CoroutineType, ModuleType
from typing import Any, Final, TypeAlias, cast

from otel_memleak.diagnosis._places import short_path
from otel_memleak.probes._asyncio import running_loops
from otel_memleak.wording import shorten

_Coroutine: TypeAlias = "CoroutineType[Any, Any, Any]"
_MOST_WAITS: Final = 200
_DEEPEST_AWAIT: Final = 100
_target: Final = operator.methodcaller("__call__")  # of a weak reference
_is_done: Final = operator.methodcaller("done")
_coroutine: Final = operator.methodcaller("get_coro")
_identity: Final = operator.attrgetter("__qualname__", "cr_code")
_qualname: Final = operator.attrgetter("__qualname__")


def read_tasks() -> tuple[dict[str, int] | None, dict[str, str]]:
    """Return the unfinished tasks by coroutine, and where tasks of a coroutine wait.

    Returns:
        Counts by ``qualname (file:line)`` of the coroutine function, None when unknown (asyncio not
        imported, no GIL, unfamiliar internals); and for each of these names where one of its tasks
        waits, as far as 200 tasks tell. Never raises.
    """
    tasks = sys.modules.get("asyncio.tasks")
    is_gil_enabled = getattr(sys, "_is_gil_enabled", None)
    if tasks is None or (is_gil_enabled is not None and not is_gil_enabled()):
        return None, {}
    try:
        return _count(tasks), _read_waits(tasks)
    except Exception:  # a count must not disturb what it counts: unknown
        return None, {}


def _tasks(tasks: ModuleType) -> Iterator[Any]:
    """Unfinished tasks, as an iterator that runs in C up to 3.13 and keeps none of them."""
    alive: Iterable[Any]
    if isinstance(getattr(tasks, "all_tasks", None), BuiltinFunctionType):
        alive = [task for loop in running_loops() for task in tasks.all_tasks(loop)]
    else:
        registry = getattr(tasks, "_scheduled_tasks", None)
        if registry is None:
            registry = getattr(tasks, "_all_tasks")  # noqa: B009
        alive = filter(None, map(_target, list(registry.data)))
    return filterfalse(_is_done, alive)


def _count(tasks: ModuleType) -> dict[str, int]:
    try:
        counts = Counter(map(_identity, map(_coroutine, _tasks(tasks))))
    except AttributeError:  # a coroutine of another make (Cython, a generator) is among them
        names = Counter(_foreign_name(coroutine) for coroutine in map(_coroutine, _tasks(tasks)))
        return dict(names)
    named: Counter[str] = Counter()
    for (qualname, code), count in counts.items():
        named[_name(qualname, code)] += count
    return dict(named)


def _foreign_name(coroutine: Any) -> str:
    try:
        return _name(*_identity(coroutine))
    except Exception:  # its attributes are somebody's own, and need not be there
        return shorten(type(coroutine).__qualname__)


def _name(qualname: object, code: object) -> str:
    place = f" ({short_path(code.co_filename)}:{code.co_firstlineno})" if isinstance(code, CodeType) else ""
    return f"{shorten(str(qualname))}{place}"


def _read_waits(tasks: ModuleType) -> dict[str, str]:
    waits: dict[str, str] = {}
    for task in islice(_tasks(tasks), _MOST_WAITS):
        coroutine = _as_coroutine(task.get_coro())
        if coroutine is not None:
            name = _name(coroutine.__qualname__, coroutine.cr_code)
            if name not in waits:
                waits[name] = _where(coroutine)
    return waits


def _as_coroutine(value: Any) -> _Coroutine | None:
    return value if cast("type[object]", type(value)) is CoroutineType else None


def _where(outermost: _Coroutine) -> str:
    """The innermost line that is not asyncio's own, and what of asyncio it awaits there."""
    place, awaited = "", ""
    coroutine: _Coroutine | None = outermost
    for _ in range(_DEEPEST_AWAIT):
        frame = coroutine.cr_frame if coroutine is not None else None
        if coroutine is None or frame is None:
            break
        if frame.f_globals.get("__name__", "").partition(".")[0] == "asyncio":
            awaited = coroutine.__qualname__
            break
        place = f"{short_path(frame.f_code.co_filename)}:{frame.f_lineno}"
        coroutine = _as_coroutine(coroutine.cr_await)
    return f"{place} ({awaited})" if awaited and place else place
