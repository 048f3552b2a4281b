"""A fork that no C library in the process is told of.

`os.fork` calls the fork of the C library, which calls what other libraries have registered with
`pthread_atfork`. gRPC ends all its threads there and starts them anew, in the middle of the application's
calls, and others do the like. In a process that is to notice nothing this is the part that is not ours to
repeat; so the interpreter's own preparations are made around `_Fork`, which calls nobody.

The price is paid in the copy: a lock of the C library's that another thread held at that moment, such as one
of malloc's, stays held there. Whoever waits for it waits for ever, and is killed (see `_child`).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, filterfalse, starmap, tee
from typing import Final

from otel_memleak.diagnosis.census._libc import function

_NOTHING: Final[tuple[tuple[()], ...]] = ((),)


@dataclass(frozen=True, slots=True)
class Fork:
    """A way to fork.

    Attributes:
        call: Like `os.fork`, but warns nobody: gives the child's pid, and 0 in the child. It raises `OSError`
            when the system refuses, `RuntimeError` in a sub-interpreter or while the interpreter ends, and
            `MemoryError`.
        tells_libraries: Whether C libraries are told, because there is no other fork on this platform.
    """

    call: Callable[[], int]
    tells_libraries: bool


def make_fork() -> Fork:
    """What there is on this platform.

    Raises:
        OSError: No C library could be found.
        AttributeError: It, or the interpreter, does not export what is needed.
    """
    # A library object of its own: what is declared on its functions is seen by nobody else.
    python = ctypes.PyDLL(None)
    before: Callable[[], None] = function(python, "PyOS_BeforeFork", None)
    in_child: Callable[..., None] = function(python, "PyOS_AfterFork_Child", None)
    in_parent: Callable[..., None] = function(python, "PyOS_AfterFork_Parent", None)
    current = function(python, "PyInterpreterState_Get", ctypes.c_void_p)
    main = function(python, "PyInterpreterState_Main", ctypes.c_void_p)
    system_fork, tells_libraries = _system_fork()

    def fork() -> int:
        if current() != main() or sys.is_finalizing():
            raise RuntimeError("no fork in a sub-interpreter or while the interpreter ends")
        sys.audit("os.fork")
        here = os.getpid()
        to_child, to_parent, to_us = tee(map(system_fork, starmap(before, _NOTHING)), 3)
        aftermath = chain(map(in_child, filterfalse(None, to_child)), map(in_parent, filter(None, to_parent)))
        sink: deque[None] = deque(maxlen=0)
        try:
            # One chain of C functions. With a bytecode in between, another thread could run and wait for what
            # is locked before the fork, holding the GIL; in the child the GIL would be waited for for ever.
            sink.extend(aftermath)
        except BaseException:
            # There was no memory for a result or for an argument, which is after the first of the calls.
            if os.getpid() != here:
                os._exit(1)
            in_parent()
            raise
        pid = next(to_us)
        if pid < 0:
            raise OSError(number := ctypes.get_errno(), os.strerror(number))
        return pid

    return Fork(fork, tells_libraries)


def _system_fork() -> tuple[Callable[[None], int], bool]:
    """The one that calls nobody: glibc has it since 2.34, musl since 1.2.2. Otherwise the ordinary one."""
    # Only here is errno kept: the calls that follow would overwrite it.
    library = ctypes.PyDLL(None, use_errno=True)
    try:
        return function(library, "_Fork", ctypes.c_int), False
    except AttributeError:
        return function(library, "fork", ctypes.c_int), True
