"""The fork of snapshots does all that `os.fork` does, except that C libraries are not told of it."""

from __future__ import annotations

import _imp
import ctypes
import errno
import importlib.util
import subprocess
import sys
from collections.abc import Callable

import pytest

from otel_memleak.diagnosis.census import CensusBudget, Refusal, _bare_fork, _snapshot, take_census
from otel_memleak.diagnosis.census._bare_fork import Fork, make_fork

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="snapshots are taken on Linux")

TELLING = """
import ctypes, os
told, hook = [], ctypes.PYFUNCTYPE(None)
hooks = [hook(lambda name=name: told.append(name)) for name in ("before", "in parent", "in child")]
ctypes.PyDLL(None).__register_atfork(*hooks, None)

def told_of(fork):
    told.clear()
    pid = fork()
    if pid == 0:
        os._exit(len(told))
    return [*told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
"""


def run(program: str) -> list[str]:
    """What a program prints, line by line: forks with hooks are a process of their own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "faulthandler", "-c", program],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "__register_atfork"), reason="this C library hides it")
def test_no_c_library_is_told() -> None:
    """What gRPC and others do before and after a fork is not done: the process notices nothing."""
    program = TELLING + (
        "from otel_memleak.diagnosis.census import CensusBudget, take_census\n"
        "from otel_memleak.diagnosis.census._bare_fork import make_fork\n"
        "print(told_of(os.fork))\n"
        "print(told_of(make_fork().call), make_fork().tells_libraries)\n"
        "told.clear()\n"
        "print(type(take_census(CensusBudget(), 0.0)).__name__, told)\n"
    )
    assert run(program) == ["['before', 'in parent', 2]", "[0] False", "Census []"]


def test_hooks_of_the_interpreter_are_called_as_by_its_own_fork() -> None:
    """Locks that they take before are free afterwards, in both processes; one that raises stops nobody."""
    program = """
import os, sys
from otel_memleak.diagnosis.census._bare_fork import make_fork

def raising():
    called.append("raising")
    raise RuntimeError

called, broken = [], []
sys.unraisablehook = broken.append
for name in "ab":
    os.register_at_fork(
        before=lambda name=name: called.append(f"before {name}"),
        after_in_parent=lambda name=name: called.append(f"parent {name}"),
        after_in_child=lambda name=name: called.append(f"child {name}"),
    )
os.register_at_fork(before=raising, after_in_parent=raising, after_in_child=raising)
for fork in (os.fork, make_fork().call):
    called.clear()
    broken.clear()
    reading, writing = os.pipe()
    if fork() == 0:
        os.write(writing, f"{called} {len(broken)}".encode())
        os._exit(0)
    os.wait()
    print(os.read(reading, 1000).decode(), called, len(broken))
"""
    theirs, ours = run(program)

    assert ours == theirs
    assert ours == (
        "['raising', 'before b', 'before a', 'child a', 'child b', 'raising'] 2 "
        "['raising', 'before b', 'before a', 'parent a', 'parent b', 'raising'] 2"
    )


def test_threads_of_the_child_get_the_gil() -> None:
    """The interpreter has made it anew there, though other threads waited for the old one."""
    program = """
import os, threading
from otel_memleak.diagnosis.census._bare_fork import make_fork

def fight():
    while True:
        sum(range(1000))

for _ in range(4):
    threading.Thread(target=fight, daemon=True).start()
fork = make_fork().call
for _ in range(50):
    pid = fork()
    if pid == 0:
        thread = threading.Thread(target=sum, args=(range(10),))
        thread.start()
        thread.join()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
print("all", flush=True)
os._exit(0)
"""
    assert run(program) == ["all"]


def refusing(monkeypatch: pytest.MonkeyPatch, system_fork: Callable[[object], int]) -> Fork:
    """The fork with another one of the system's below it."""
    monkeypatch.setattr(_bare_fork, "_system_fork", lambda: (system_fork, False))
    return make_fork()


def test_a_fork_that_the_system_refuses_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing locked."""

    def refuse(_: object) -> int:
        assert _imp.lock_held()
        ctypes.set_errno(errno.EAGAIN)
        return -1

    fork = refusing(monkeypatch, refuse)
    with pytest.raises(BlockingIOError):
        fork.call()

    assert not _imp.lock_held()


def test_where_there_is_no_memory_for_a_result_nothing_stays_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is locked for the fork is let go of whatever happens."""

    def exhausted(_: object) -> int:
        raise MemoryError

    fork = refusing(monkeypatch, exhausted)
    with pytest.raises(MemoryError):
        fork.call()

    assert not _imp.lock_held()


@pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None, reason="this CPython lacks its test module"
)
def test_a_sub_interpreter_does_not_fork() -> None:
    """The interpreter's own fork refuses it, too: only the main one could live on in the child."""
    inside = f"""
import sys
sys.path[:] = {sys.path!r}
from otel_memleak.diagnosis.census import CensusBudget, take_census
print(take_census(CensusBudget(), 0.0), flush=True)
"""
    (line, _) = run(f"import _testcapi\nprint(_testcapi.run_in_subinterp({inside!r}))")

    assert "RuntimeError at _bare_fork.py" in line


def test_without_such_a_fork_snapshots_are_taken_where_there_is_no_grpc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older C library tells everybody, and gRPC is what may lose the application's calls then."""
    find = _bare_fork.function
    missing: list[str] = []

    def without(library: object, name: str, *types: object) -> object:
        if name == "_Fork":
            missing.append(name)
            raise AttributeError(name)
        return find(library, name, *types)

    monkeypatch.setattr(_bare_fork, "function", without)
    monkeypatch.setattr(_snapshot, "_tools", [])
    monkeypatch.delitem(sys.modules, "grpc._cython.cygrpc", raising=False)
    assert not isinstance(take_census(CensusBudget(deadline_s=100.0), 0.0), Refusal)
    monkeypatch.setitem(sys.modules, "grpc._cython.cygrpc", sys)
    refused = take_census(CensusBudget(deadline_s=100.0), 0.0)

    assert missing == ["_Fork"]
    assert refused == Refusal("this C library has no fork that gRPC is not told of")
