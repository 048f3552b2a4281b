"""Threads, and what they wait with, of the kind there was when this package was imported.

gevent and eventlet replace the locks and threads of the standard library, often in a process that runs
already: a worker of ``gunicorn -k gevent`` does so after it has been forked. A thread from before, that waits
with a lock from after, becomes the host of an event loop; threads that it starts are greenlets in that loop,
and live only while it waits; and when the interpreter ends during such a wait, the thread is ended in the
middle of a greenlet's stack, which is a segmentation fault. So nothing here is looked up again: a watch that
began with real threads keeps to them; one that began in a patched process is made of greenlets throughout.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

new_lock: Final = _thread.allocate_lock
get_ident: Final = _thread.get_ident
sleep: Final = time.sleep
_start_new_thread: Final = _thread.start_new_thread


class Signal:
    """An `threading.Event` that waits with a lock of that kind."""

    __slots__ = ("_gate", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._gate = new_lock()
        self._gate.acquire()

    def is_set(self) -> bool:
        """Whether nobody has to wait."""
        return self._is_set

    def set(self) -> None:
        """Let everybody pass who waits or comes."""
        if self._is_set:
            return
        self._is_set = True
        with suppress(RuntimeError):  # another thread has done so at the same moment
            self._gate.release()

    def clear(self) -> None:
        """Have those wait who come."""
        self._gate.acquire(False)
        self._is_set = False

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set, for so many seconds at most; None for ever.

        Returns:
            Whether it is set.
        """
        timeout_s = -1 if timeout_s is None else max(timeout_s, 0.0)
        if not self.is_set() and self._gate.acquire(True, timeout_s) and self.is_set():
            self._gate.release()  # for the next who waits
        return self.is_set()


class Worker:
    """A daemon thread.

    Args:
        name: Of the thread.
        work: What it does; the thread ends with it.
    """

    __slots__ = ("_begun", "_over", "_thread", "_work", "ident", "name")

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name = name
        self._work = work
        self._begun = False
        self._over = Signal()
        self.ident: int | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start it.

        Raises:
            RuntimeError: At interpreter shutdown, in an isolated sub-interpreter, or when there are too many.
        """
        if _thread.start_new_thread is _start_new_thread:
            # With all that `threading` knows of its threads: their name, and that they have ended.
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()
        else:
            _start_new_thread(self._run, ())
        self._begun = True

    def is_alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._begun and not self._over.is_set()

    def is_current(self) -> bool:
        """Whether that is who asks."""
        return self.ident == get_ident()

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended, for so many seconds at most."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        else:
            self._over.wait(timeout_s)

    def _run(self) -> None:
        self.ident = get_ident()
        try:
            self._work()
        finally:
            self._over.set()
