"""The pytest plugin: fixtures that fail a test whose callable leaks.

    def test_parsing_keeps_nothing(memleak_check):
        memleak_check(parse, DOCUMENT)

    async def test_request_keeps_nothing(memleak_check_async, client):
        await memleak_check_async(client.get, "/")

Loaded whenever pytest starts, so it imports nothing but pytest before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from otel_memleak.testing._verdict import LeakVerdict


class MemleakCheck(Protocol):
    """What the fixture ``memleak_check`` is."""

    def __call__(
        self, function: Callable[..., object], /, *args: object, strict: bool = False, **options: Any
    ) -> LeakVerdict:
        """Check a callable and fail the test if it leaks.

        Args:
            function: What to call, thousands of times; a coroutine function is run on a loop of its own.
            *args: Its arguments; for keyword arguments use ``functools.partial``.
            strict: Fail when there is no verdict, instead of warning.
            **options: ``max_seconds``, ``tolerance_bytes_per_call``, ``largest_cache``, ``trace``: as for
                ``otel_memleak.testing.check_leak``.

        Returns:
            The verdict: ``no_leak``, or ``cannot_tell`` with a warning.
        """
        ...


class MemleakCheckAsync(Protocol):
    """What the fixture ``memleak_check_async`` is: the same on the event loop that runs."""

    def __call__(
        self, function: Callable[..., object], /, *args: object, strict: bool = False, **options: Any
    ) -> Awaitable[LeakVerdict]:
        """Check a callable and fail the test if it leaks; see `MemleakCheck`."""
        ...


@pytest.fixture
def memleak_check() -> MemleakCheck:
    """A function that fails the test when a callable leaks: ``memleak_check(function, *args)``."""

    def check(
        function: Callable[..., object], /, *args: object, strict: bool = False, **options: Any
    ) -> LeakVerdict:
        __tracebackhide__ = True
        from otel_memleak.testing._check import check_leak

        with _nothing_recorded():
            verdict = check_leak(partial(function, *args) if args else function, **options)
        _report(verdict, strict=strict)
        return verdict

    return check


@pytest.fixture
def memleak_check_async() -> MemleakCheckAsync:
    """What ``memleak_check`` is, to be awaited where an event loop runs already."""

    async def check(
        function: Callable[..., object], /, *args: object, strict: bool = False, **options: Any
    ) -> LeakVerdict:
        __tracebackhide__ = True
        from otel_memleak.testing._check import check_leak_async

        with _nothing_recorded():
            verdict = await check_leak_async(partial(function, *args) if args else function, **options)
        _report(verdict, strict=strict)
        return verdict

    return check


def _report(verdict: LeakVerdict, *, strict: bool) -> None:
    __tracebackhide__ = True
    if verdict.verdict == "leak" or (strict and verdict.verdict == "cannot_tell"):
        pytest.fail(verdict.reason, pytrace=True)
    if verdict.verdict == "cannot_tell":
        import warnings

        from otel_memleak.testing._verdict import CannotTellWarning

        warnings.warn(CannotTellWarning(verdict.reason), stacklevel=3)


@contextmanager
def _nothing_recorded() -> Generator[None, None, None]:
    """Drop what is printed, logged and warned meanwhile.

    pytest keeps all of it until the test ends. Kept for every one of a hundred thousand calls, that is a
    leak, and not the callable's.
    """
    import logging
    import os
    import warnings

    root = logging.getLogger()
    recorders = [handler for handler in root.handlers if type(handler).__module__ == "_pytest.logging"]
    silence = logging.NullHandler()  # without any handler, logging prints
    root.addHandler(silence)
    for handler in recorders:
        root.removeHandler(handler)
    try:
        with (
            warnings.catch_warnings(),
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            warnings.showwarning = _drop
            yield
    finally:
        for handler in recorders:
            root.addHandler(handler)
        root.removeHandler(silence)


def _drop(*_warning: object, **_more: object) -> None:
    """Shows no warning."""
