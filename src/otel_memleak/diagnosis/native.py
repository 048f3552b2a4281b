"""Leaks in native code: the function that allocates and the Python line that called it, by memray.

A window records every allocation from malloc and mmap with native stacks for a second or two; a process
of its own reads the recording. What is in work at the end of a window is in it too, hence two windows:
only what is left over in both is named.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from otel_memleak.diagnosis import _memray, _memray_reader
from otel_memleak.diagnosis._places import short_path
from otel_memleak.guard import Guard

_SITES: Final = 5
_MOST_RESULT_BYTES: Final = 1024 * 1024
_TICK_S: Final = 0.25
_KILL_WAIT_S: Final = 1.0
_LONGEST_NAME: Final = 200

Phase = Literal["waiting", "recording", "reading", "done"]
_Key = tuple[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class NativeSite:
    """Native code that allocates what stays.

    Attributes:
        functions: Names of native functions, innermost first, at most three, without the interpreter's
            own; empty when the interpreter itself allocates, or a library without symbols.
        site: ``file:line`` of the Python code that called them; empty when no Python code did.
        growth_bytes_per_hour: What stayed, in the window in which least did.
        growth_count_per_hour: Blocks.
    """

    functions: tuple[str, ...]
    site: str
    growth_bytes_per_hour: float
    growth_count_per_hour: float

    def clause(self) -> str:
        """It in words, e.g. ``allocated in decode_frame < decode, called from shop/codec.py:88``."""
        inside = f"allocated in {' < '.join(self.functions)}" if self.functions else "allocated natively"
        return f"{inside}, called from {self.site}" if self.site else inside


@dataclass(frozen=True, slots=True)
class NativeBudget:
    """What native recording may cost. It makes allocating code 1.3 to 3 times as expensive.

    Attributes:
        window_s: Length of one window, in seconds.
        windows: How many there are.
        pause_s: Seconds between two of them.
        recording_bytes: Size of a recording at which it is stopped and thrown away.
        reading_s: Seconds after which the process that reads a recording is killed.
    """

    window_s: float = 1.5
    windows: int = 2
    pause_s: float = 10.0
    recording_bytes: int = 64 * 1024 * 1024
    reading_s: float = 60.0


class NativeWindows:
    """One investigation by memray, driven by `tick` from the thread of the caller.

    Importing memray adds about 17 MB to the process, once and for good.

    While it is not `done`, call `tick` at or soon after `due_s`. In a forked child call `abandon`.

    Args:
        budget: What it may cost.
        now_s: Monotonic time of the start, in seconds; the same clock as for `tick`.
        headroom_bytes: Memory left until the limit, for the process that reads; None without a limit.
        recorder: Makes a recorder for each window.
        guard: Told of failures; default one of its own.
    """

    def __init__(
        self,
        budget: NativeBudget,
        now_s: float,
        *,
        headroom_bytes: float | None = None,
        recorder: Callable[[], _memray.Recorder] = _memray.MemrayRecorder,
        guard: Guard | None = None,
    ) -> None:
        self._budget = budget
        self._new_recorder = recorder
        self._guard = guard if guard is not None else Guard()
        self._recorder: _memray.Recorder | None = None
        self._reader: subprocess.Popen[bytes] | None = None
        self._began_s = now_s
        self._lasted_s = 0.0
        self._rates: list[dict[_Key, tuple[float, float]]] = []
        self.due_s = now_s
        """When the next `tick` is wanted, on the caller's clock; in the past when done."""
        self.limits = _memray.why_not(headroom_bytes)
        """Why it saw less than it was to see, in words; empty when it did not."""
        self.phase: Phase = "done" if self.limits else "waiting"
        """``waiting`` for a window, ``recording``, ``reading`` what was recorded, or ``done``."""

    @property
    def done(self) -> bool:
        """Whether there is nothing more to come."""
        return self.phase == "done"

    def sites(self) -> list[NativeSite]:
        """What stayed in every window, worst first, at most five; native code before the interpreter."""
        if not self._rates:
            return []
        steady = [key for key in self._rates[0] if all(key in rates for rates in self._rates)]
        found = [NativeSite(*key, *min(rates[key] for rates in self._rates)) for key in steady]
        found.sort(key=lambda site: (not site.functions, -site.growth_bytes_per_hour, site.site))
        return found[:_SITES]

    def tick(self, now_s: float) -> None:
        """Do what is due. Never raises; waits for nothing but the import and start of memray."""
        if self.done or now_s < self.due_s:
            return
        try:
            self._advance(now_s)
        except Exception as error:
            self._end("native recording failed")
            self._guard.swallow("recording native allocations", error)

    def stop(self) -> None:
        """End it early; a recording is thrown away."""
        if not self.done:
            self._end("native recording was stopped early")

    def abandon(self) -> None:
        """In a forked child: the recording, the file and the reading process are the parent's."""
        self.phase = "done"
        recorder, self._recorder, self._reader = self._recorder, None, None
        if recorder is not None:
            recorder.abandon()

    def _advance(self, now_s: float) -> None:
        recorder = self._recorder
        if recorder is None:
            self._begin(now_s)
        elif self._reader is None:
            self._watch(recorder, now_s)
        else:
            self._collect(recorder, self._reader, now_s)

    def _begin(self, now_s: float) -> None:
        self._recorder = self._new_recorder()
        self._recorder.start()
        self._began_s = now_s
        self.phase = "recording"
        self.due_s = now_s + min(_TICK_S, self._budget.window_s)

    def _watch(self, recorder: _memray.Recorder, now_s: float) -> None:
        if recorder.size_bytes() > self._budget.recording_bytes:
            self._end("a native recording outgrew its budget")
        elif now_s - self._began_s >= self._budget.window_s:
            recorder.stop()
            self._lasted_s = now_s - self._began_s
            self._reader = _start_reader(recorder)
            self._began_s = now_s
            self.phase = "reading"
            self.due_s = now_s + _TICK_S
        else:
            self.due_s = now_s + _TICK_S

    def _collect(self, recorder: _memray.Recorder, reader: subprocess.Popen[bytes], now_s: float) -> None:
        if reader.poll() is None:
            self.due_s = now_s + _TICK_S
            if now_s - self._began_s > self._budget.reading_s:
                self._end("reading a native recording took too long")
            return
        self._rates.append(_rates(_result(recorder), self._lasted_s))
        self._clean_up()
        self.phase = "done" if len(self._rates) >= self._budget.windows else "waiting"
        self.due_s = now_s + self._budget.pause_s

    def _end(self, why: str) -> None:
        self.phase = "done"
        self.limits = why
        try:
            self._clean_up()
        except Exception as error:
            self._guard.swallow("ending a native recording", error)

    def _clean_up(self) -> None:
        recorder, self._recorder = self._recorder, None
        reader, self._reader = self._reader, None
        try:
            if recorder is not None:
                recorder.stop()
        finally:
            if reader is not None and reader.poll() is None:
                reader.kill()
                reader.wait(_KILL_WAIT_S)
            if recorder is not None:
                recorder.remove()


def _start_reader(recorder: _memray.Recorder) -> subprocess.Popen[bytes]:
    library = os.path.dirname(os.path.dirname(importlib.import_module("memray").__file__ or ""))
    # With a debuginfod server in the environment memray would fetch symbols over the network.
    environment = {name: value for name, value in os.environ.items() if name != "DEBUGINFOD_URLS"}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", _memray_reader.__file__, library, recorder.path, _output(recorder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=recorder.folder,
    )


def _output(recorder: _memray.Recorder) -> str:
    return os.path.join(recorder.folder, "result.json")


def _result(recorder: _memray.Recorder) -> list[Mapping[str, Any]]:
    """What the reader found; it may have been killed, or run out of memory, in the middle of it.

    Raises:
        OSError: It left nothing behind.
        ValueError: What it left is not what it should be.
    """
    with open(_output(recorder), "rb") as file:
        content = file.read(_MOST_RESULT_BYTES + 1)
    if len(content) > _MOST_RESULT_BYTES:
        raise ValueError("the result is too large")
    found = json.loads(content)
    if not isinstance(found, list):
        raise ValueError("the result is not an array")
    return cast("list[Mapping[str, Any]]", found)


def _rates(found: list[Mapping[str, Any]], seconds: float) -> dict[_Key, tuple[float, float]]:
    rates: dict[_Key, tuple[float, float]] = {}
    for entry in found:
        functions = tuple(str(name)[:_LONGEST_NAME] for name in entry["native"])
        site = f"{short_path(str(entry['file']))}:{int(entry['line'])}" if entry["file"] else ""
        rates[functions, site] = (3600 * entry["bytes"] / seconds, 3600 * entry["count"] / seconds)
    return rates
