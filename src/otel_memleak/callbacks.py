"""The user's ``on_alert``: on a thread of its own, so that it may take its time, hang or raise.

The thread exists only while there is something to deliver. A callback that hangs keeps it, a few more
alerts wait for it, and what comes after those is dropped and counted; sampling never waits.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from otel_memleak.guard import Guard
from otel_memleak.threads import Worker, new_lock
from otel_memleak.types import LeakAlert

AlertCallback = Callable[[LeakAlert], Awaitable[object] | object]

_WAITING_AT_MOST: Final = 16


class Delivery(Protocol):
    """Takes alerts from the sampling thread to the user's code."""

    def deliver(self, alert: LeakAlert) -> None:
        """Hand an alert over and return at once."""
        ...

    def forget(self) -> None:
        """Start empty, as in a forked child: the parent delivers its own."""
        ...


class CallbackThread:
    """Delivers alerts to callbacks, in order.

    Args:
        callbacks: Functions taking a `LeakAlert`; a coroutine function is run in an event loop of its own.
        guard: Told of callbacks that raised and of alerts that were dropped.
    """

    def __init__(self, callbacks: tuple[AlertCallback, ...], guard: Guard) -> None:
        self._callbacks = callbacks
        self._guard = guard
        self.forget()

    def forget(self) -> None:
        """Start empty: locks and threads of a parent process mean nothing here."""
        self._waiting: deque[LeakAlert] = deque()
        self._lock = new_lock()
        self._thread: Worker | None = None

    def deliver(self, alert: LeakAlert) -> None:
        """Hand an alert over and return at once."""
        if not self._callbacks:
            return
        with self._lock:
            if len(self._waiting) >= _WAITING_AT_MOST:
                self._guard.swallow("waiting for on_alert to return, and dropping alerts", TimeoutError())
                return
            self._waiting.append(alert)
            if self._thread is None:
                self._thread = Worker("OtelMemleakCallbacks", self._run)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                alert = self._waiting.popleft()
            for callback in self._callbacks:
                self._call(callback, alert)

    def _call(self, callback: AlertCallback, alert: LeakAlert) -> None:
        try:
            result = callback(alert)
            if inspect.isawaitable(result):
                asyncio.run(_finish(result))
        except Exception as error:
            self._guard.swallow("calling on_alert", error)


async def _finish(awaitable: Awaitable[object]) -> None:
    await awaitable
