"""Dicts for instances that get theirs only by being asked for it.

From CPython 3.11 on an instance has no dict until somebody wants its ``__dict__``, and then keeps it. A look
from inside asks some hundred objects of the application, and what they keep would lie here and there among
the short-lived objects of the look: twenty megabytes that the interpreter could not give back because of
twenty kilobytes. So these dicts are made in advance, side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SpareDicts:
    """Dicts to be used up one by one.

    Args:
        count: How many, 64 bytes each; when they are used up, everything is as it would be without them.
    """

    def __init__(self, count: int = 0) -> None:
        self._dicts: list[dict[Any, Any]] = [{} for _ in range(count)]

    def ask(self, getter: Callable[[Any], Any], thing: object) -> Any:
        """What a getter gives for an object; if it has to make a dict for that, it is one of these.

        The interpreter does not free a dict, but makes the next one of the one it was given last. It keeps 80
        for that, so one of them is taken away meanwhile.
        """
        if not self._dicts:
            return getter(thing)
        _taken: dict[Any, Any] = {}
        self._dicts.pop()
        return getter(thing)
