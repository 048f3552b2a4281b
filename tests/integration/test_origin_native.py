"""A native leak in a live program, found by memray; and what a recording leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import otel_memleak
from otel_memleak.diagnosis import _memray

pytestmark = pytest.mark.skipif(bool(_memray.why_not()), reason=_memray.why_not() or "possible")

_SERVICE = """
import ctypes, json, os, signal, sys, threading, time
from otel_memleak.diagnosis.native import NativeBudget, NativeWindows

libc = ctypes.CDLL(None)
libc.strdup.restype = ctypes.c_void_p
stop = False
def handle():
    return libc.strdup(b"x" * 3000)  # the leak
def serve():
    while not stop:
        handle()
        [{"id": number} for number in range(100)]
        time.sleep(0.001)
thread = threading.Thread(target=serve)
PREPARE
thread.start()
windows = NativeWindows(NativeBudget(window_s=0.5, pause_s=0.1), time.monotonic())
while not windows.done:
    windows.tick(time.monotonic())
    WHILE_RUNNING
    time.sleep(0.02)
stop = True
thread.join()
print(json.dumps({
    "sites": [[site.functions, site.site] for site in windows.sites()],
    "limits": windows.limits,
    "descriptors": [os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2
                    and os.path.exists("/proc/self/fd/" + fd)],
}))
"""


def _serve(tmp_path: Path, prepare: str = "", while_running: str = "pass") -> dict[str, Any]:
    program = tmp_path / "shop.py"
    program.write_text(_SERVICE.replace("PREPARE", prepare).replace("WHILE_RUNNING", while_running))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(otel_memleak.__file__).parents[1])}
    environment["TMPDIR"] = str(scratch)
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    result["left"] = os.listdir(scratch)
    return result


def test_the_native_function_and_the_python_line_are_found(tmp_path: Path) -> None:
    """The whole way: record, stop, read in another process, twice; no file and no descriptor stays."""
    line = next(number for number, text in enumerate(_SERVICE.splitlines(), 1) if "# the leak" in text)

    seen = _serve(tmp_path)

    assert seen["limits"] == ""
    functions, site = seen["sites"][0]
    assert "strdup" in functions[0], seen
    assert site == f"shop.py:{line}"
    assert seen["left"] == []
    assert not any("otel-memleak" in name for name in seen["descriptors"])


def test_an_application_that_ignores_its_children_is_served_too(tmp_path: Path) -> None:
    """With SIGCHLD ignored the kernel reaps the reader, and its exit status is never seen."""
    seen = _serve(tmp_path, "signal.signal(signal.SIGCHLD, signal.SIG_IGN)")

    assert seen["limits"] == ""
    assert "strdup" in seen["sites"][0][0][0]


def test_children_forked_while_recording_live_and_leave_the_recording_alone(tmp_path: Path) -> None:
    """Prefork servers fork at any time; the child abandons, works, exits cleanly, and nothing is spoilt."""
    fork = (
        "child = os.fork() if windows.phase == 'recording' else -1\n"
        "    if child == 0:\n"
        "        windows.abandon()\n"
        "        kept = [bytes(1000) for _ in range(1000)]\n"
        "        sys.exit(0)\n"
        "    if child > 0:\n"
        "        assert os.waitpid(child, 0)[1] == 0"
    )

    seen = _serve(tmp_path, "import warnings; warnings.simplefilter('ignore')", fork)

    assert seen["limits"] == ""
    assert "strdup" in seen["sites"][0][0][0]
    assert seen["left"] == []


def test_a_process_may_end_in_the_middle_of_a_recording(tmp_path: Path) -> None:
    """Nobody waits for a diagnosis: exit must be clean, and at once."""
    leave = "if windows.phase == 'recording': stop = True; thread.join(); print('{}'); sys.exit(0)"

    assert _serve(tmp_path, while_running=leave).keys() == {"left"}
