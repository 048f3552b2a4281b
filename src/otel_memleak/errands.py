"""A daemon thread for what may take long: writing to a disk, flushing to a network.

Whoever hands something over does not wait for it. The thread is a daemon, so that a disk or a network that
hangs never keeps the process from exiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from otel_memleak.guard import Guard
from otel_memleak.threads import Signal, Worker

_WAITING_AT_MOST: Final = 8


class Errands:
    """Runs what it is given, one after the other, on a thread that starts with the first.

    Args:
        name: Of the thread.
        guard: Told of failures.
    """

    def __init__(self, name: str, guard: Guard) -> None:
        self._name = name
        self._guard = guard
        self.forget()

    def forget(self) -> None:
        """Start over, as in a forked child: the thread and what it had to do are the parent's."""
        self._waiting: deque[tuple[str, Callable[[], None]]] = deque(maxlen=_WAITING_AT_MOST)
        self._something = Signal()
        self._stop = False
        self._thread: Worker | None = None

    def run(self, place: str, errand: Callable[[], None]) -> None:
        """Have something done soon; returns at once. When too much is waiting the oldest is dropped.

        Args:
            place: What it does, in words that fit after "while".
            errand: Whatever it raises is swallowed.
        """
        if self._stop:
            return
        self._waiting.append((place, errand))
        self.warm_up()
        self._something.set()

    def warm_up(self) -> None:
        """Start the thread, so that nothing has to be allocated for it later."""
        if self._thread is not None or self._stop:
            return
        thread = Worker(self._name, self._work)
        try:
            thread.start()
        except RuntimeError as error:
            # At interpreter shutdown, in an isolated sub-interpreter, or when no thread is to be had.
            self._guard.swallow(f"starting the thread {self._name}", error)
            return
        self._thread = thread

    def stop(self, timeout_s: float) -> bool:
        """Let it finish what is waiting, for so long at most; nothing more is taken.

        Returns:
            Whether it has finished.
        """
        self._stop = True
        self._something.set()
        thread = self._thread
        if thread is None or thread.is_current():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _work(self) -> None:
        waiting, something = self._waiting, self._something
        while something is self._something:
            something.wait()
            something.clear()
            while waiting:
                place, errand = waiting.popleft()
                try:
                    errand()
                except Exception as error:
                    self._guard.swallow(place, error)
            if self._stop and not waiting:
                return
