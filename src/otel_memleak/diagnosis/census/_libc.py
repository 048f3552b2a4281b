"""System calls made while holding the GIL.

Every call of `os` lets go of the GIL, and in a snapshot threads wait for it that other fork hooks started:
exporters, pools. A call through `ctypes.PyDLL` keeps it, so none of them ever runs.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_SYS_CLOSE_RANGE: Final = 436
_LAST_FD: Final = 0x7FFFFFFF
_SIGKILL: Final = 9
_SCHED_BATCH: Final = 3
_MODEST: Final = 5
"""Niceness: a third of what a thread of the application gets. With 10 a census of half a CPU second took most
of a minute beside twenty busy processes, and came too late. ``SCHED_IDLE`` cannot be left again without
privileges: on a busy machine the census would never end."""
_MANY_FDS: Final = 4096


def function(library: Any, name: str, result: Any, *arguments: Any) -> Any:
    """A function of a C library, with what it gives and what it takes.

    Raises:
        AttributeError: The library does not export it.
    """
    found = library[name]
    found.restype = result
    found.argtypes = arguments
    return found


class Libc:
    """The few calls a snapshot makes.

    Raises:
        OSError: No C library could be found.
        AttributeError: It lacks one of the calls.
    """

    def __init__(self) -> None:
        library = ctypes.PyDLL(None, use_errno=True)
        self._write = function(
            library, "write", ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
        )
        self._open = function(library, "open", ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
        self._close = function(library, "close", ctypes.c_int, ctypes.c_int)
        self._syscall = function(library, "syscall", ctypes.c_long, *[ctypes.c_long] * 4)
        self._prctl = function(library, "prctl", ctypes.c_int, ctypes.c_int, *[ctypes.c_ulong] * 4)
        self._setpriority = function(library, "setpriority", *[ctypes.c_int] * 4)
        self._scheduler = function(
            library, "sched_setscheduler", ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p
        )

    def write_all(self, fd: int, payload: bytes) -> None:
        """Write to the end, waiting where the pipe is full."""
        buffer = ctypes.create_string_buffer(payload, len(payload))
        start, done = ctypes.addressof(buffer), 0
        while done < len(payload):
            written = self._write(fd, start + done, len(payload) - done)
            if written < 0 and ctypes.get_errno() != errno.EINTR:
                raise OSError(ctypes.get_errno(), "write")
            done += max(written, 0)

    def put(self, path: bytes, text: bytes) -> bool:
        """Write a few bytes to a file that exists."""
        fd = self._open(path, os.O_WRONLY | os.O_CLOEXEC)
        if fd < 0:
            return False
        written: int = self._write(fd, ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p), len(text))
        self._close(fd)
        return written == len(text)

    def close_all_but(self, kept: int) -> None:
        """Close every descriptor but one."""
        below = self._syscall(_SYS_CLOSE_RANGE, 0, kept - 1, 0) if kept else 0
        above = self._syscall(_SYS_CLOSE_RANGE, kept + 1, _LAST_FD, 0)
        if below == 0 and above == 0:
            return
        for fd in range(_MANY_FDS):
            if fd != kept:
                self._close(fd)

    def die_with_parent(self) -> None:
        """Be killed when the thread that forked ends."""
        self._prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)

    def leave_no_core(self) -> None:
        """Leave no core dump: it would hold the application's memory."""
        self._prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

    def give_way(self) -> None:
        """Be content with less than the others get, and wake nobody up for it."""
        self._setpriority(0, 0, _MODEST)
        priority = ctypes.c_int(0)
        self._scheduler(0, _SCHED_BATCH, ctypes.addressof(priority))
