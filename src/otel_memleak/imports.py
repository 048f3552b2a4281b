"""Imports that other threads have in hand, which a fork must not cut in two.

A forked child inherits the lock of a module that another thread was importing, but not the thread. Whoever
imports it there waits for ever, and exporters do: ``requests`` imports `netrc` at every request, so that a
worker forked during its parent's first export never sends anything.
"""

from __future__ import annotations

import sys
import time
import weakref
from threading import get_ident
from types import BuiltinFunctionType
from typing import Any, Final

_LONGEST_WAIT_S: Final = 1.0
_PAUSE_S: Final = 0.001

_given_up: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""Locks that were waited for in vain: of modules that serve while they are being imported."""


def wait_for_imports() -> None:
    """Let the imports of other threads end, a second at most; one that has not is never waited for again."""
    if type(time.sleep) is not BuiltinFunctionType:
        return  # gevent's and eventlet's would switch to other code in the middle of a fork
    deadline_s = time.monotonic() + _LONGEST_WAIT_S
    while held := [lock for lock in _locks_of_others() if lock not in _given_up]:
        if time.monotonic() > deadline_s:
            _given_up.update(held)
            return
        time.sleep(_PAUSE_S)


def _locks_of_others() -> list[Any]:
    """Locks of modules that another thread holds; empty where the import system is built otherwise."""
    known: dict[str, Any] = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    locks = [reference() for reference in known.copy().values()]
    return [lock for lock in locks if getattr(lock, "owner", None) not in (None, get_ident())]
