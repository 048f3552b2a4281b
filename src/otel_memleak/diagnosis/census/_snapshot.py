"""The census in a forked snapshot: what the parent does before, meanwhile and after."""

from __future__ import annotations

import os
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_memleak.diagnosis.census import _child, _message
from otel_memleak.diagnosis.census._bare_fork import Fork, make_fork
from otel_memleak.diagnosis.census._fork import fork_and_run
from otel_memleak.diagnosis.census._isolation import isolate
from otel_memleak.diagnosis.census._libc import Libc
from otel_memleak.diagnosis.census._limits import CensusBudget
from otel_memleak.diagnosis.census._look import deadline_pace, look, tracked_objects
from otel_memleak.diagnosis.census._message import Census
from otel_memleak.diagnosis.census._pins import Pin, make_pin
from otel_memleak.frames import other_stacks
from otel_memleak.probes import ProbeError, RssProbe
from otel_memleak.threads import get_ident
from otel_memleak.wording import describe

_STATM: Final = "/proc/self/statm"
_GRPC: Final = "grpc._cython.cygrpc"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no census.

    Attributes:
        reason: In words that fit after "because".
    """

    reason: str


@dataclass(frozen=True, slots=True)
class _Tools:
    """What a snapshot needs of the platform, looked up before there is one."""

    libc: Libc
    fork: Fork
    pin: Pin


_tools: list[_Tools | Refusal] = []


def take_census(
    budget: CensusBudget,
    time_s: float,
    earlier: Sequence[Census] = (),
    *,
    growth_bytes_per_hour: float | None = None,
    headroom_bytes: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Census | Refusal:
    """Take a census of the heap in a copy-on-write snapshot of this process.

    Call it on a thread of its own: it returns when the snapshot is done, at most ``budget.deadline_s`` and
    two seconds later. The other threads stand still for the fork, some milliseconds per gigabyte.

    Args:
        budget: What it may cost.
        time_s: The time now, on a clock that later censuses share.
        earlier: Earlier censuses, oldest first; the last two that were snapshots are compared with.
        growth_bytes_per_hour: Retained growth of the process; suspects are measured against it.
        headroom_bytes: Memory limit less resident memory; None when there is no limit.
        should_stop: Asked ten times a second; True kills the snapshot.

    Returns:
        The census, or why there is none. `look_in_process` can be tried then.
    """
    tools = _prepare()
    if isinstance(tools, Refusal):
        return tools
    refusal = _refuse(tools.fork, budget, headroom_bytes)
    if refusal is not None:
        return refusal
    _child.reap_left_behind()
    summaries = [one.summary for one in earlier if not one.in_process][-2:]
    try:
        return _run(tools, budget, time_s, summaries, growth_bytes_per_hour, should_stop)
    except (OSError, RuntimeError, MemoryError) as error:
        return Refusal(f"the snapshot failed ({describe(error)})")


def _prepare() -> _Tools | Refusal:
    if not _tools:
        _tools.append(_find_tools())
    return _tools[0]


def _find_tools() -> _Tools | Refusal:
    if not sys.platform.startswith("linux"):
        return Refusal("snapshots by fork are safe on Linux only")
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return Refusal("snapshots need CPython with its global lock")
    try:
        return _Tools(Libc(), make_fork(), make_pin())
    except (ImportError, AttributeError, OSError) as error:
        return Refusal(f"this platform lacks what a snapshot needs ({error})")


def _refuse(fork: Fork, budget: CensusBudget, headroom_bytes: int | None) -> Refusal | None:
    if type(os.fork) is not types.BuiltinFunctionType:
        return Refusal("os.fork has been replaced")
    if fork.tells_libraries and _GRPC in sys.modules:
        # It ends its threads before a fork and starts them anew: calls that are under way may go unanswered.
        return Refusal("this C library has no fork that gRPC is not told of")
    if getattr(sys.modules.get("concurrent.futures.thread"), "_shutdown", False):
        return Refusal("the interpreter is ending")  # the SDK's fork hooks would print tracebacks
    if headroom_bytes is None:
        return None
    try:
        needed = RssProbe().read() + budget.memory_bytes
    except ProbeError:
        return Refusal("resident memory is unknown")
    if headroom_bytes < needed:
        return Refusal("a full copy would not fit under the memory limit")
    return None


def _run(
    tools: _Tools,
    budget: CensusBudget,
    time_s: float,
    summaries: list[bytes],
    growth_bytes_per_hour: float | None,
    should_stop: Callable[[], bool],
) -> Census | Refusal:
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        pid = _fork(tools, budget, time_s, summaries, growth_bytes_per_hour, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    deadline = time.monotonic() + budget.deadline_s
    pid_fd = _child.open_pid_fd(pid)
    is_stuck = _child.Stuck(pid)
    try:
        received = _child.receive(reading, lambda: should_stop() or time.monotonic() > deadline or is_stuck())
    except _message.MalformedMessageError:
        received = b""
    finally:
        os.close(reading)
        _child.finish(pid, pid_fd)
        if pid_fd >= 0:
            os.close(pid_fd)
    if received is None:
        return Refusal(_why_nothing(deadline, should_stop, is_stuck))
    try:
        return _message.decode(received, time_s)
    except _message.MalformedMessageError:
        return Refusal("the snapshot sent nonsense")


def _why_nothing(deadline: float, should_stop: Callable[[], bool], is_stuck: Callable[[], bool]) -> str:
    if time.monotonic() > deadline:
        return "the snapshot took too long"
    if is_stuck():
        return "the snapshot waited for a lock that was held at the fork"
    return "the snapshot was told to stop" if should_stop() else "the snapshot ended early"


def _fork(
    tools: _Tools,
    budget: CensusBudget,
    time_s: float,
    summaries: list[bytes],
    growth_bytes_per_hour: float | None,
    writing: int,
) -> int:
    address_space = _address_space_bytes()
    stacks: list[Sequence[Any]] = []

    pinned = tools.pin()

    def work() -> None:
        isolate(tools.libc, writing, budget, address_space)
        found = look(
            time_s,
            summaries,
            growth_bytes_per_hour,
            pace=deadline_pace(budget.looking_s, budget.cpu_s),
            stacks=stacks,
            tracked=tracked_objects(),
            pinned=pinned,
        )
        tools.libc.write_all(writing, _message.encode(found))

    stacks.extend(other_stacks(get_ident()))
    try:
        return fork_and_run(tools.fork.call, work)
    finally:
        stacks.clear()
        pinned.clear()


def _address_space_bytes() -> int:
    try:
        with open(_STATM, "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
