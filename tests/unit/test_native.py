"""Native recording: when it is not done, and what is made of a recording. No memray needed."""

from __future__ import annotations

import json
import os
import sys
import threading
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_memleak import guard as guard_module
from otel_memleak.diagnosis import _memray, _memray_reader, native
from otel_memleak.diagnosis._memray_reader import Frame, native_frames, summarise
from otel_memleak.diagnosis.native import NativeBudget, NativeSite, NativeWindows
from otel_memleak.guard import Guard

BUDGET = NativeBudget(window_s=1.0, windows=2, pause_s=5.0, recording_bytes=1000, reading_s=10.0)


class ScriptedRecorder:
    """A recorder whose recordings are ready-made."""

    def __init__(self, folder: Path, size_bytes: int = 10) -> None:
        self.folder = str(folder)
        self.path = os.path.join(self.folder, "recording")
        self.calls: list[str] = []
        self._size_bytes = size_bytes

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def size_bytes(self) -> int:
        return self._size_bytes

    def abandon(self) -> None:
        self.calls.append("abandon")

    def remove(self) -> None:
        self.calls.append("remove")


class ScriptedReader:
    """The process that reads: ends at once, or never."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs = hangs
        self.killed = False

    def poll(self) -> int | None:
        return None if self.hangs and not self.killed else 0

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float) -> int:
        return 0


def _entry(native_names: Sequence[str], line: int, size: int) -> dict[str, Any]:
    return {
        "bytes": size,
        "count": 10,
        "native": list(native_names),
        "file": "/srv/shop/codec.py",
        "line": line,
    }


@pytest.fixture
def possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memray, "why_not", lambda headroom_bytes: "")


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[dict[str, Any]] | str]:
    """What each reading finds, in turn; raw text is written as it is."""
    turns: list[list[dict[str, Any]] | str] = []

    def read(recorder: ScriptedRecorder) -> ScriptedReader:
        found = turns.pop(0)
        text = found if isinstance(found, str) else json.dumps(found)
        Path(recorder.folder, "result.json").write_text(text)
        return ScriptedReader()

    monkeypatch.setattr(native, "_start_reader", read)
    return turns


def _run(windows: NativeWindows) -> None:
    now_s = 0.0
    while not windows.done and now_s < 100:
        windows.tick(now_s)
        now_s += 0.25


@pytest.mark.usefixtures("possible")
def test_what_stays_in_both_windows_is_named(results: list[Any], tmp_path: Path) -> None:
    """What was in work at the end of one window is not at the end of the other."""
    results += [
        [_entry(["decode", "read"], 88, 9000), _entry(["once"], 5, 99000)],
        [_entry(["decode", "read"], 88, 6000), _entry(["other"], 6, 99000), _entry([], 7, 50)],
    ]
    windows = NativeWindows(BUDGET, 0.0, recorder=lambda: ScriptedRecorder(tmp_path))
    _run(windows)

    assert windows.sites() == [NativeSite(("decode", "read"), "srv/shop/codec.py:88", 6000 * 3600, 36000)]
    assert windows.sites()[0].clause() == "allocated in decode < read, called from srv/shop/codec.py:88"
    assert windows.limits == ""


@pytest.mark.usefixtures("possible")
def test_native_code_comes_before_the_interpreter(results: list[Any], tmp_path: Path) -> None:
    """Tables of lists and dicts come from malloc too; they are not what a native leak is looked for."""
    found = [_entry([], line, 90_000 + line) for line in range(9)] + [_entry(["decode"], 88, 100)]
    results += [found, found]
    windows = NativeWindows(BUDGET, 0.0, recorder=lambda: ScriptedRecorder(tmp_path))
    _run(windows)

    assert [site.functions for site in windows.sites()] == [("decode",), (), (), (), ()]


@pytest.mark.usefixtures("possible")
def test_every_recording_is_stopped_and_removed(results: list[Any], tmp_path: Path) -> None:
    """A disk must not fill, and a process must not be recorded for ever."""
    results += [[], []]
    made: list[ScriptedRecorder] = []

    def make() -> ScriptedRecorder:
        made.append(ScriptedRecorder(tmp_path))
        return made[-1]

    _run(NativeWindows(BUDGET, 0.0, recorder=make))

    assert [recorder.calls for recorder in made] == [["start", "stop", "stop", "remove"]] * 2


@pytest.mark.usefixtures("possible")
def test_a_recording_that_outgrows_its_budget_is_thrown_away(tmp_path: Path) -> None:
    """A program that allocates a lot would write gigabytes."""
    recorder = ScriptedRecorder(tmp_path, size_bytes=5000)
    windows = NativeWindows(BUDGET, 0.0, recorder=lambda: recorder)
    _run(windows)

    assert windows.limits == "a native recording outgrew its budget"
    assert recorder.calls == ["start", "stop", "remove"]


@pytest.mark.usefixtures("possible")
def test_a_reader_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Symbols of a large library can take for ever; nobody waits."""
    reader = ScriptedReader(hangs=True)
    monkeypatch.setattr(native, "_start_reader", lambda recorder: reader)
    recorder = ScriptedRecorder(tmp_path)
    windows = NativeWindows(BUDGET, 0.0, recorder=lambda: recorder)
    _run(windows)

    assert reader.killed
    assert recorder.calls[-1] == "remove"
    assert windows.limits == "reading a native recording took too long"


@pytest.mark.usefixtures("possible")
@pytest.mark.parametrize(
    "result", ["", "{}", "[1]", '[{"bytes": 1}]', "[" * 100_000, "[" + " " * 2_000_000 + "]"]
)
def test_a_torn_or_foreign_result_is_an_end_not_an_error(
    result: str, results: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader may be killed by the OOM killer in mid-sentence."""
    monkeypatch.setattr(guard_module, "reraise", False)
    results.append(result)
    guard = Guard()
    windows = NativeWindows(BUDGET, 0.0, recorder=lambda: ScriptedRecorder(tmp_path), guard=guard)
    _run(windows)

    assert (windows.limits, windows.sites(), guard.errors) == ("native recording failed", [], 1)


@pytest.mark.usefixtures("possible")
@pytest.mark.parametrize("ticks", [1, 6])
def test_stopped_early_it_leaves_nothing_behind(ticks: int, tmp_path: Path, monkeypatch: Any) -> None:
    """`uninstrument` may come in the middle of a recording or of its reading."""
    reader = ScriptedReader(hangs=True)
    monkeypatch.setattr(native, "_start_reader", lambda recorder: reader)
    recorder = ScriptedRecorder(tmp_path)
    windows = NativeWindows(BUDGET, 0.0, recorder=lambda: recorder)
    for tick in range(ticks):
        windows.tick(tick * 0.25)
    windows.stop()

    assert windows.done
    assert recorder.calls[-2:] == ["stop", "remove"]
    assert reader.killed is (ticks == 6)


@pytest.mark.usefixtures("possible")
def test_a_forked_child_touches_nothing_of_the_parent_s(tmp_path: Path) -> None:
    """The file and the recording are the parent's: stopping or removing them would spoil them."""
    recorder = ScriptedRecorder(tmp_path)
    windows = NativeWindows(BUDGET, 0.0, recorder=lambda: recorder)
    windows.tick(0.0)

    windows.abandon()

    assert (windows.done, recorder.calls) == (True, ["start", "abandon"])


@pytest.mark.parametrize(
    ("python", "memray", "safe"),
    [
        ((3, 10, 0), (1, 1, 0), True),
        ((3, 11, 7), (1, 20, 0), True),
        ((3, 12, 11), (1, 20, 0), False),
        ((3, 12, 11), (1, 20, 1), True),
        ((3, 12, 11), (1, 21, 0), True),
        ((3, 13, 9), (1, 21, 0), False),
        ((3, 13, 10), (1, 20, 0), True),
        ((3, 14, 0), (1, 21, 0), False),
        ((3, 14, 1), (1, 21, 0), True),
    ],
)
def test_where_it_can_crash_it_is_not_done(
    python: tuple[int, ...], memray: tuple[int, ...], safe: bool
) -> None:
    """A diagnosis that crashes the service is worse than none."""
    assert (_memray._why_unsafe(python, memray) == "") is safe


@pytest.fixture
def fit_for_memray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(_memray, "_memray_version", lambda: (99, 0, 0))
    monkeypatch.setattr(_memray, "_why_unsafe", lambda python, memray: "")
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.11")
    monkeypatch.delitem(sys.modules, "greenlet", raising=False)
    # Coverage tools may have set one.
    monkeypatch.setattr(threading, "getprofile", lambda: None)
    monkeypatch.setattr(sys, "getprofile", lambda: None)


@pytest.mark.usefixtures("fit_for_memray")
def test_in_a_fit_process_nothing_speaks_against_it() -> None:
    """The other refusals would prove nothing if it were always refused."""
    assert _memray.why_not(None) == ""
    assert _memray.why_not(1e9) == ""


@pytest.mark.usefixtures("fit_for_memray")
@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (lambda patch: patch.setattr(sys, "platform", "darwin"), "native recording is for Linux"),
        (lambda patch: patch.setattr(_memray, "_memray_version", lambda: None), "memray is not installed"),
        (
            lambda patch: patch.setattr(_memray, "_why_unsafe", lambda python, memray: "can crash"),
            "can crash",
        ),
        (lambda patch: patch.setitem(sys.modules, "greenlet", types.ModuleType("greenlet")), "greenlets"),
        (lambda patch: patch.setattr(threading, "getprofile", lambda: print), "a profiler is on"),
        (lambda patch: patch.setattr(sys, "getprofile", lambda: print), "a profiler is on"),
        (lambda patch: patch.setattr(sys, "executable", "/usr/bin/uwsgi"), "no Python interpreter"),
        (lambda patch: patch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False), "needs the GIL"),
        (lambda patch: patch.setattr(sys, "executable", ""), "no Python interpreter"),
    ],
)
def test_what_speaks_against_it_is_said(unfit: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A diagnosis without native frames has to say why they are missing."""
    unfit(monkeypatch)

    windows = NativeWindows(BUDGET, 0.0)

    assert windows.done
    assert reason in windows.limits


@pytest.mark.usefixtures("fit_for_memray")
def test_close_to_the_limit_nothing_is_read() -> None:
    """Reading takes a hundred megabytes: it must not be what kills the service."""
    assert "too little memory" in _memray.why_not(100e6)


PYTHON: Frame = ("handler", "/srv/shop/codec.py", 88)


def _stack(*names: str) -> list[Frame]:
    return [*((name, "", 0) for name in names), PYTHON]


@pytest.mark.parametrize(
    ("stack", "names"),
    [
        (_stack("decode", "leak", "cfunction_call", "_PyObject_Call"), ("decode", "leak")),
        ([("list_resize", "/build/Objects/listobject.c", 81), *_stack("PyList_Append")], ()),
        (_stack("<unknown>", "jpeg_start", "encode", "save", "a"), ("jpeg_start", "encode", "save")),
        (_stack("_PyObject_ArenaMmap", "new_arena"), None),
        ([PYTHON, ("caller", "/srv/shop/codec.py", 9)], ()),
    ],
)
def test_the_native_functions_above_the_python_line_are_named(
    stack: list[Frame], names: tuple[str, ...] | None
) -> None:
    """Interpreter internals, nameless code and arenas for small objects are nobody's leak."""
    assert native_frames(stack, PYTHON) == names


def test_a_thread_without_python_is_named_by_its_native_functions() -> None:
    """Runtimes have threads of their own, and leak in them."""
    assert native_frames([("pool_grow", "", 0), ("worker", "", 0)], None) == ("pool_grow", "worker")


class Record:
    """As memray has them."""

    def __init__(self, size: int, stack: list[Frame]) -> None:
        self.size = size
        self.n_allocations = 1
        self._stack = stack

    def stack_trace(self, max_stacks: int) -> list[Frame]:
        return [frame for frame in self._stack if frame[1].endswith(".py")][:max_stacks]

    def hybrid_stack_trace(self, max_stacks: int) -> list[Frame]:
        return self._stack[:max_stacks]


def test_records_of_one_place_are_added_up() -> None:
    """Stacks differ further out; the function and the line are the same leak."""
    records = [Record(100 + n, [("decode", "", 0), PYTHON, ("route", f"/srv/{n}.py", n)]) for n in range(5)]

    assert summarise(records) == [
        {"bytes": 510, "count": 5, "native": ("decode",), "file": PYTHON[1], "line": 88}
    ]


def test_the_number_of_records_looked_at_is_bounded() -> None:
    """Symbols are dear: the largest are enough."""
    records = [Record(n, [(f"f{n}", "", 0), PYTHON]) for n in range(1000)]

    found = summarise(records)

    assert len(found) == _memray_reader._MOST_RECORDS
    assert min(entry["bytes"] for entry in found) == 800
