"""Errands done at once, on the thread that asks for them."""

from __future__ import annotations

from collections.abc import Callable

from otel_memleak.errands import Errands
from otel_memleak.guard import Guard


class AtOnce(Errands):
    """No thread: a test sees what was done as soon as it has asked for it."""

    def __init__(self, guard: Guard | None = None) -> None:
        super().__init__("unused", guard or Guard())
        self.done: list[str] = []

    def run(self, place: str, errand: Callable[[], None]) -> None:
        self.done.append(place)
        try:
            errand()
        except Exception as error:
            self._guard.swallow(place, error)

    def warm_up(self) -> None:
        """There is none."""
