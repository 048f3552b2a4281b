"""A fork while another thread imports."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_memleak import imports
from otel_memleak.imports import wait_for_imports

WAIT_S = 10.0

FORKING = """
import os, signal, sys, threading, time
from otel_memleak import forks

class Nobody:
    def after_fork_in_child(self): pass
    def stop(self): pass

nobody = Nobody()
if sys.argv[1] == "watched":
    forks.register(nobody)
threading.Thread(target=__import__, args=("slow_module",)).start()
while "slow_module" not in sys.modules:
    time.sleep(0.001)
pid = os.fork()
if pid == 0:
    signal.alarm(3)
    import slow_module
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("watched", [True, False])
def test_a_child_can_import_what_its_parent_was_importing(watched: bool, tmp_path: Path) -> None:
    """Without us it waits for a thread that it does not have; with us the fork has waited for the import."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.3)\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, "watched" if watched else "alone"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert int(done.stdout) == (0 if watched else -signal.SIGALRM), done.stderr


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that another thread is importing until the test ends."""
    reached, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "endless_module", (reached, go_on), raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "endless_module.py").write_text(
        f"import threading\nreached, go_on = threading.endless_module\nreached.set()\ngo_on.wait({WAIT_S})\n"
    )
    thread = threading.Thread(target=__import__, args=("endless_module",), daemon=True)
    thread.start()
    assert reached.wait(WAIT_S)
    yield
    go_on.set()
    thread.join(WAIT_S)
    sys.modules.pop("endless_module", None)


@pytest.mark.usefixtures("endless")
def test_a_module_that_serves_while_it_is_imported_delays_one_fork_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is waited for until patience ends, and never again."""
    naps = count_naps(monkeypatch)
    monkeypatch.setattr(imports, "_LONGEST_WAIT_S", 0.05)

    wait_for_imports()
    assert len(naps) > 1
    naps.clear()
    wait_for_imports()

    assert naps == []
    assert len(imports._locks_of_others()) == 1


@pytest.mark.usefixtures("endless")
def test_a_module_that_forks_while_it_is_imported_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is its own thread's."""
    naps = count_naps(monkeypatch)
    (lock,) = imports._locks_of_others()
    monkeypatch.setattr(imports, "get_ident", lambda: lock.owner)

    wait_for_imports()

    assert naps == []


@pytest.mark.usefixtures("endless")
def test_nobody_waits_where_sleeping_switches_to_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under gevent and eventlet, which put a function of Python's into the place of the built-in one."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: naps.append(seconds))

    wait_for_imports()

    assert naps == []


def count_naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleep for real, and note how often."""
    naps: list[float] = []
    nap = time.sleep

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        nap(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(imports, "BuiltinFunctionType", type(sleep))
    return naps
