"""How far the bounded caches of the standard library have filled, and how much room they have left.

Only ``functools.lru_cache`` with a ``maxsize``, where a module or a class of a module holds it: it can be
asked in C, without running a line of the application's. Caches in closures, on instances, or of other kinds
are not seen.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Final
from weakref import ref

from otel_memleak.records import NamedTuple
from otel_memleak.threads import sleep

_LEAST_SIZE: Final = 64
_MOST_CACHES: Final = 256
_STILL_FILLING: Final = 10
"""A cache that has not grown in so many readings does not count as filling."""

_NAMES_AT_A_TIME: Final = 500
_BETWEEN_S: Final = 0.0001
"""Between so many names the interpreter's lock is let go: others are not to wait for a millisecond."""

_KIND: Final = type(functools.lru_cache(maxsize=1)(lambda: None))


class CacheReading(NamedTuple):
    """What bounded caches hold.

    Attributes:
        entries: By which they have grown beyond what they ever held, since they were found; a cache that is
            emptied and fills again takes none.
        room: What those that are filling still take before they are full.
    """

    entries: int
    room: int


class _Cache:
    __slots__ = ("grown_at", "reference", "size")

    def __init__(self, cache: Any) -> None:
        self.reference = ref(cache)
        self.size: int = cache.cache_info().currsize
        self.grown_at = -_STILL_FILLING


class CacheProbe:
    """Remembers the caches it has found, weakly, and asks them again.

    Finding them looks at every name of every module: milliseconds. Asking them is less than a microsecond
    each, of at most 256.
    """

    def __init__(self) -> None:
        self._caches: dict[int, _Cache] = {}
        self._entries = 0
        self._readings = 0

    def find(self) -> None:
        """Look for caches that have been made since."""
        for cache in _in_modules(tuple(sys.modules.values())):
            if len(self._caches) >= _MOST_CACHES:
                return
            if id(cache) not in self._caches and _bound(cache) >= _LEAST_SIZE:
                self._caches[id(cache)] = _Cache(cache)

    def read(self) -> CacheReading:
        """Ask those that are known."""
        self._readings += 1
        room = 0
        for key, known in tuple(self._caches.items()):
            cache = known.reference()
            if cache is None:
                del self._caches[key]
                continue
            info = cache.cache_info()
            if info.currsize > known.size:
                self._entries += info.currsize - known.size
                known.grown_at = self._readings
                known.size = info.currsize
            if self._readings - known.grown_at < _STILL_FILLING:
                room += info.maxsize - info.currsize
        return CacheReading(self._entries, room)


def _bound(cache: Any) -> int:
    return cache.cache_info().maxsize or 0


def _in_modules(modules: Iterable[object]) -> Iterator[Any]:
    """The caches that modules and their classes hold.

    No attribute is asked for in the usual way: a lazy module would be imported by that.
    """
    left = 0
    for module in modules:
        if not isinstance(module, ModuleType):
            continue
        names: dict[str, object] = object.__getattribute__(module, "__dict__")
        own, values = names.get("__name__"), tuple(names.values())
        for value in values:
            left -= 1
            if left < 0:
                sleep(_BETWEEN_S)
                left = _NAMES_AT_A_TIME
            if type(value) is _KIND:
                yield value
            elif type(value) is type and type.__getattribute__(value, "__module__") == own:
                held = tuple(type.__getattribute__(value, "__dict__").values())
                left -= len(held)
                yield from (each for each in held if type(each) is _KIND)
