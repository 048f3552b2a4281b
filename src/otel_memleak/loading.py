"""Importing on a thread, without disturbing anybody: a module at a time, and never across a fork.

Whoever imports holds the interpreter's lock; between two modules it is let go, so that no other thread waits
for longer than one takes. A process that is forked while a thread imports would inherit a module that is
locked for ever, ours or one of the standard library, so a fork waits for the module at hand.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Final

from otel_memleak.threads import new_lock, sleep

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_LONGEST_WAIT_S: Final = 1.0
"""A fork goes ahead after that: rather a child that is not watched than a parent that hangs."""

_BETWEEN_S: Final = 0.0005
_KEPT_WHOLE: Final = ("otel_memleak.testing", "otel_memleak.cli")
_hooked: Final[list[bool]] = []


class _Gate:
    """The lock that forks wait for."""

    def __init__(self) -> None:
        self.lock = new_lock()
        self.held_by_fork = False

    def before(self) -> None:
        self.held_by_fork = self.lock.acquire(timeout=_LONGEST_WAIT_S)

    def after_in_parent(self) -> None:
        if self.held_by_fork:
            self.held_by_fork = False
            self.lock.release()

    def after_in_child(self) -> None:
        if self.held_by_fork:
            self.after_in_parent()
        else:  # the thread that holds it is not in this process
            self.lock = new_lock()


_gate: Final = _Gate()


def undisturbed() -> AbstractContextManager[object]:
    """Keep forks from happening meanwhile, for a second at most; not to be nested."""
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked.append(True)
        os.register_at_fork(
            before=_gate.before, after_in_parent=_gate.after_in_parent, after_in_child=_gate.after_in_child
        )
    return _gate.lock


def load(names: Sequence[str], go_on: Callable[[], bool]) -> bool:
    """Import modules one by one.

    Args:
        names: In an order in which each needs only those before it. What is not ours may be missing.
        go_on: Asked before each of them.

    Returns:
        Whether all of them are there.
    """
    for name in tuple(sys.modules):
        _trim(name)  # first, so that what comes now finds room
    for name in names:
        if not go_on():
            return False
        known = name in sys.modules
        with undisturbed():
            try:
                import_module(name)
            except ImportError:
                if name.startswith("otel_memleak"):
                    raise
        if not known and not _trim(name):
            sleep(_BETWEEN_S)
    return True


def _trim(name: str) -> bool:
    """Let go what only readers of the source need, a tenth of what the modules of an engine take, and wait.

    What is documented for users, the names the package exports and all of `testing`, stays as it is, and so
    do the commands, which show their docstrings as help.

    Returns:
        Whether there was anything to let go.
    """
    if not name.startswith("otel_memleak.") or name.startswith(_KEPT_WHOLE):
        return False
    module = sys.modules.get(name)
    if module is None or module.__doc__ is None:
        return False
    vars(module).update(__doc__=None, __annotations__={})
    exported = sys.modules["otel_memleak"].__all__
    for thing in tuple(vars(module).values()):
        ours = isinstance(thing, FunctionType | type) and thing.__module__ == name
        if ours and thing.__name__ not in exported:
            with suppress(Exception):  # an interpreter to come may not allow it
                _bare(thing)
    sleep(_BETWEEN_S)
    return True


def _bare(thing: FunctionType | type) -> None:
    """Without docstrings and annotations. That of a function is the first constant of its code, too."""
    text, thing.__doc__ = thing.__doc__, None
    if isinstance(thing, FunctionType):
        code = thing.__code__
        if text is not None and code.co_consts[:1] == (text,):
            thing.__code__ = code.replace(co_consts=(None, *code.co_consts[1:]))
        del thing.__annotations__
        return
    for member in tuple(vars(thing).values()):
        if isinstance(member, property):
            member.__doc__ = None
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(function, FunctionType):
            _bare(function)
