"""Keep the other threads' thread-local data alive across a fork.

The interpreter clears the states of all other threads in a forked child, before any hook runs, and with them
their thread-local data. Finalisers run there, and some speak to a server over a connection that the parent
still uses: a database session ends because its copy was cleaned up. What is referred to from elsewhere is not
finalised; so for the moment of the fork, this refers to it.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable
from itertools import accumulate, chain, repeat, takewhile
from typing import Any, Final

from otel_memleak.diagnosis.census._kinds import (
    addresses_of,
    as_dict,
    is_exactly,
    referents_of_all,
    subtypes_of,
    type_address,
)
from otel_memleak.diagnosis.census._libc import function

_SMALL_HEAP_BLOCKS: Final = 1_500_000
"""Up to this many allocated blocks, listing all tracked objects takes some milliseconds."""
_COLLECTIONS_MOVED: Final = 0x030C0000
_LOCALS_MOVED: Final = 0x030D0000
_NEAR_STEPS: Final = 8
_NEAR_OBJECTS: Final = 200_000
_LARGE_CONTAINER: Final = 2000

Pin = Callable[[], list[Any]]
_LOCAL: Final = threading.local
"""The C type; a patched one has nothing to do with thread states."""


def make_pin() -> Pin:
    """A function that gives references to the thread-local data of all threads.

    Raises:
        AttributeError: This interpreter does not export what is needed.
    """
    # From 3.13 on thread-local data no longer hangs from a dict of the thread state.
    return _pin_locals if sys.hexversion >= _LOCALS_MOVED else _pin_thread_dicts()


def _pin_thread_dicts() -> Pin:
    api = ctypes.PyDLL(None)
    pointer = ctypes.c_void_p
    interpreter = function(api, "PyInterpreterState_Get", pointer)
    first = function(api, "PyInterpreterState_ThreadHead", pointer, pointer)
    following = function(api, "PyThreadState_Next", pointer, pointer)
    thread_dict = function(api, "_PyThreadState_GetDict", pointer, pointer)
    reference = function(api, "Py_NewRef", ctypes.py_object, pointer)

    def pin() -> list[Any]:
        # One expression of C functions: with a bytecode in between, another thread could run and end, and
        # its state be freed while we point at it. Before 3.12 a collection, which runs Python code, could
        # begin within it.
        enabled = sys.hexversion < _COLLECTIONS_MOVED and gc.isenabled()
        if enabled:
            gc.disable()
        try:
            states = accumulate(chain(map(first, [interpreter()]), repeat(0)), following)
            return list(map(reference, filter(None, map(thread_dict, takewhile(bool, states)))))
        finally:
            if enabled:
                gc.enable()

    return pin


def _pin_locals() -> list[Any]:
    """References to the data of every `threading.local` that can be found."""
    small = sys.getallocatedblocks() < _SMALL_HEAP_BLOCKS
    found = _all_locals() if small else _near_locals()
    return [part for one in found for table in gc.get_referents(one) for part in _values(table)]


def _values(table: object) -> list[Any]:
    namespaces = as_dict(table)
    return [table] if namespaces is None else list(namespaces.values())


def _all_locals() -> list[Any]:
    # An instance refers to its type, and the search is one loop in C that keeps nothing alive.
    wanted = subtypes_of(_LOCAL)
    addresses = addresses_of(wanted)
    return [thing for thing in gc.get_referrers(*wanted) if type_address(thing) in addresses]


def _near_locals() -> list[Any]:
    """Those a few steps from a module: on a large heap a search of everything would stop the world."""
    addresses = addresses_of(subtypes_of(_LOCAL))
    level: list[Any] = list(sys.modules.values())
    seen: set[int] = set()
    found: list[Any] = []
    for _ in range(_NEAR_STEPS):
        level = [thing for thing in level if id(thing) not in seen and _is_worth_a_look(thing)]
        if len(seen) + len(level) > _NEAR_OBJECTS:
            break
        seen.update(map(id, level))
        found.extend(thing for thing in level if type_address(thing) in addresses)
        level = referents_of_all(level)
    return found


def _is_worth_a_look(thing: Any) -> bool:
    if is_exactly(thing, dict, list, set):
        return len(thing) <= _LARGE_CONTAINER
    return gc.is_tracked(thing)
