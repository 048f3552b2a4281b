"""One value per OpenTelemetry provider, living no longer than the provider.

Providers cannot forget an instrument, a tracer or a processor, so asking for new ones at every
``instrument()`` would grow the application. What was made for a provider once is found again here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProvider(Generic[T]):
    """A memo keyed weakly by provider."""

    def __init__(self) -> None:
        self._values: weakref.WeakKeyDictionary[object, T] = weakref.WeakKeyDictionary()

    def get(self, provider: object, make: Callable[[], T]) -> T:
        """The value for this provider, made at the first request.

        A provider that can be neither hashed nor weakly referenced gets a new value each time.
        """
        try:
            known = self._values.get(provider)
            if known is None:
                known = self._values[provider] = make()
            return known
        except TypeError:
            return make()
