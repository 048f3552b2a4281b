"""A snapshot seen from its parent: read from, killed, reaped; never waited for without a deadline."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from otel_memleak.diagnosis.census import _message
from otel_memleak.threads import sleep

_POLL_MS: Final = 100
_REAP_S: Final = 2.0
_CHUNK_BYTES: Final = 1 << 16
_STUCK_S: Final = 5.0
_ASLEEP: Final = b"S"

_left_behind: Final[set[int]] = set()
"""Killed, but not gone within the time: the kernel was busy with them. Reaped by the next census."""

_cpu_s: Final[list[float]] = [0.0]


def children_cpu_s() -> float:
    """CPU seconds of all children reaped here; not of those that the application's own loop has reaped."""
    return _cpu_s[0]


def receive(fd: int, give_up: Callable[[], bool]) -> bytes | None:
    """Read one message from a pipe.

    Args:
        fd: A non-blocking descriptor.
        give_up: Asked ten times a second.

    Returns:
        The message; None if the other end closed too early or we gave up.

    Raises:
        MalformedMessageError: Something else arrived.
    """
    received = bytearray()
    wait = _make_wait(fd)
    while missing := _message.bytes_missing(received):
        if give_up():
            return None
        if not wait():
            continue
        try:
            part = os.read(fd, min(missing, _CHUNK_BYTES))
        except BlockingIOError:
            continue
        if not part:
            return None
        received += part
    return bytes(received)


class Stuck:
    """Whether a child waits for what nobody will give it, such as a lock that a thread held at the fork.

    A snapshot computes, or waits for a processor or for the disk. It sleeps while nobody reads what it sends,
    but we read all the time.

    Args:
        pid: A child of ours.
        clock_s: Monotonic seconds.
        proc_root: Where procfs is mounted.
    """

    def __init__(
        self, pid: int, *, clock_s: Callable[[], float] = time.monotonic, proc_root: str = "/proc"
    ) -> None:
        self._path = f"{proc_root}/{pid}/stat"
        self._clock_s = clock_s
        self._since_s = clock_s()
        self._used: tuple[bytes, ...] = ()
        self._is_stuck = False

    def __call__(self) -> bool:
        """Ask often; True as soon as it was asleep for five seconds without using any of the processor."""
        now_s = self._clock_s()
        state, *used = self._read()
        if state != _ASLEEP or tuple(used) != self._used:
            self._used, self._since_s = tuple(used), now_s
        self._is_stuck |= now_s - self._since_s >= _STUCK_S
        return self._is_stuck

    def _read(self) -> tuple[bytes, ...]:
        """Its state, and the ticks it has used; nothing where procfs does not say."""
        try:
            with open(self._path, "rb") as file:
                fields = file.read().rpartition(b") ")[2].split()
        except OSError:
            return (b"",)
        return (fields[0], *fields[11:13]) if len(fields) > 12 else (b"",)


def _make_wait(fd: int) -> Callable[[], list[Any]]:
    """What waits a moment for something to read; eventlet has taken `select.poll` away."""
    if not hasattr(select, "poll"):
        return lambda: select.select([fd], [], [], _POLL_MS / 1000)[0]
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return lambda: poll.poll(_POLL_MS)


def finish(pid: int, pid_fd: int) -> None:
    """Make sure a child is gone, whatever it is doing and whoever else waits for children.

    Args:
        pid: A child of ours.
        pid_fd: Its pidfd, or -1: by its number it is only killed when it is known to be ours still.
    """
    deadline = time.monotonic() + _REAP_S
    pause_s = 0.0005
    while not _is_gone(pid):
        _kill(pid, pid_fd)
        if time.monotonic() > deadline:
            _left_behind.add(pid)
            return
        sleep(pause_s)
        pause_s = min(pause_s * 2, 0.02)


def open_pid_fd(pid: int) -> int:
    """A handle on a child that cannot come to mean another process; -1 where there is none."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None or not hasattr(signal, "pidfd_send_signal"):
        return -1
    try:
        return int(opener(pid))
    except OSError:
        return -1


def reap_left_behind() -> None:
    """Collect children that could not be collected in time."""
    for pid in tuple(_left_behind):
        if _is_gone(pid):
            _left_behind.discard(pid)


def _is_gone(pid: int) -> bool:
    try:
        gone, _, used = os.wait4(pid, os.WNOHANG)
    except OSError:
        # Reaped by the application's own loop, or by the kernel where SIGCHLD is ignored.
        return True
    if gone:
        _cpu_s[0] += used.ru_utime + used.ru_stime
    return gone != 0


def _kill(pid: int, pid_fd: int) -> None:
    with contextlib.suppress(OSError):
        if pid_fd >= 0:
            signal.pidfd_send_signal(pid_fd, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
