"""Running a check: by a plain loop, on an event loop of its own, or on the one that runs."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, contextmanager
from itertools import repeat
from typing import Any, Final

from otel_memleak.clock import SystemClock
from otel_memleak.testing._meter import ProcessMeter
from otel_memleak.testing._steps import Calls, Idle, Steps
from otel_memleak.testing._trial import Trial
from otel_memleak.testing._verdict import (
    LARGEST_CACHE,
    MAX_SECONDS,
    TOLERANCE_BYTES_PER_CALL,
    LeakVerdict,
    Options,
)

_TURNS_TO_SETTLE: Final = 3


def check_leak(
    function: Callable[[], object],
    *,
    max_seconds: float = MAX_SECONDS,
    tolerance_bytes_per_call: float = TOLERANCE_BYTES_PER_CALL,
    largest_cache: int = LARGEST_CACHE,
    trace: bool = True,
) -> LeakVerdict:
    """Call something until it is certain whether it leaks.

    Garbage is collected before every look, so cycles are no leak. What counts is what stays in use: blocks of
    Python's allocator and bytes of glibc's malloc, both exact; and resident memory, for what is mapped past
    them.

    Args:
        function: Called without arguments, thousands of times; what it returns is dropped. A coroutine
            function, or whatever else returns awaitables, is run on an event loop made for the check.
        max_seconds: Time after which the verdict is ``cannot_tell``. Without a leak a check usually takes a
            second. A call is never interrupted.
        tolerance_bytes_per_call: Growth up to this is no leak. If calls are so slow that it cannot be
            excluded in 5 s, 16 times as much is let pass where there is no sign of growth.
        largest_cache: Growth must go on for more calls than this before it is called a leak, unless it has
            kept 64 MB: until then a bounded cache that fills looks the same. A ``functools.lru_cache`` of any
            size is recognised.
        trace: Once a leak is certain, run some calls under tracemalloc to tell where it is allocated.

    Returns:
        The verdict. ``assert check_leak(f)`` demands that there is no leak, ``check_leak(f).raise_if_leak()``
        that none is found.

    Raises:
        ValueError: An option is out of range; the message names it.
        RuntimeError: The callable is asynchronous and an event loop is running already: await
            `check_leak_async` there.
        Exception: Whatever the callable raises.
    """
    options = Options(max_seconds, tolerance_bytes_per_call, largest_cache, trace)
    trial = Trial(ProcessMeter(), SystemClock(), options)
    with closing(trial.steps()) as steps:
        next(steps)  # The first call is made here: it shows whether the callable is asynchronous.
        result = function()
        if inspect.isawaitable(result):
            with _own_loop(result) as loop:
                loop.run_until_complete(_settled(result))
                _drive(steps, lambda count: loop.run_until_complete(_await_all(function, count)))
        else:
            del result
            _drive(steps, lambda count: _call_all(function, count))
    return _verdict(trial)


async def check_leak_async(
    function: Callable[[], Awaitable[object] | object],
    *,
    max_seconds: float = MAX_SECONDS,
    tolerance_bytes_per_call: float = TOLERANCE_BYTES_PER_CALL,
    largest_cache: int = LARGEST_CACHE,
    trace: bool = True,
) -> LeakVerdict:
    """The same as `check_leak` on the event loop that runs, whose clients and connections it may use.

    Args:
        function: Called without arguments; what it returns is awaited if it can be.
        max_seconds: As for `check_leak`.
        tolerance_bytes_per_call: As for `check_leak`.
        largest_cache: As for `check_leak`.
        trace: As for `check_leak`.

    Returns:
        The verdict.

    Raises:
        ValueError: An option is out of range; the message names it.
        Exception: Whatever the callable raises.
    """
    options = Options(max_seconds, tolerance_bytes_per_call, largest_cache, trace)
    trial = Trial(ProcessMeter(), SystemClock(), options)
    with closing(trial.steps()) as steps:
        for step in steps:
            if isinstance(step, Idle):
                await asyncio.sleep(step.seconds)
            else:
                await _await_all(function, step.count)
    return _verdict(trial)


def _verdict(trial: Trial) -> LeakVerdict:
    assert trial.verdict is not None  # The steps end with a verdict or an exception.
    return trial.verdict


def _drive(steps: Steps[None], call: Callable[[int], object]) -> None:
    """Do what the steps ask for after the first."""
    for step in steps:
        if isinstance(step, Calls):
            call(step.count)
        else:
            time.sleep(step.seconds)


def _call_all(function: Callable[[], object], count: int) -> None:
    for _ in repeat(None, count):
        function()


async def _await_all(function: Callable[[], Any], count: int) -> None:
    for _ in repeat(None, count):
        await _await_one(function)
    await _settle()


async def _await_one(function: Callable[[], Any]) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result


async def _settled(awaitable: Awaitable[object]) -> None:
    await awaitable
    await _settle()


async def _settle() -> None:
    """Let callbacks run that the last call has scheduled."""
    for _ in range(_TURNS_TO_SETTLE):
        await asyncio.sleep(0)


@contextmanager
def _own_loop(first: object) -> Generator[asyncio.AbstractEventLoop, None, None]:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        if inspect.iscoroutine(first):
            first.close()
        raise RuntimeError("an event loop is running: await check_leak_async(...) instead of check_leak(...)")
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        try:
            loop.run_until_complete(_wind_up())
        finally:
            loop.close()


async def _wind_up() -> None:
    """End what the callable has left running, as ``asyncio.run`` does."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
