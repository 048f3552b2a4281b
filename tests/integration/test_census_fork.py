"""A snapshot does no harm: not to descriptors, children, locks, buffers, signals or other people's hooks."""

from __future__ import annotations

import concurrent.futures.thread
import contextlib
import logging
import os
import re
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otel_memleak import forks
from otel_memleak.diagnosis.census import (
    Census,
    CensusBudget,
    Refusal,
    _child,
    _fork,
    _snapshot,
    is_census_fork,
    take_census,
)
from otel_memleak.diagnosis.census._bare_fork import Fork, make_fork
from otel_memleak.diagnosis.census._look import Found
from otel_memleak.diagnosis.census._summary import Row, Summary
from otel_memleak.types import MB

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="snapshots are taken on Linux")

SOURCES = Path(__file__).parents[2] / "src"
BUDGET = CensusBudget(deadline_s=100.0)


def found() -> Found:
    return Found(Summary(0.0, True, (Row(-1, "", "", 1, 1, 1, "", False, False),)), 7, 70, (), "")


@contextlib.contextmanager
def looking(monkeypatch: pytest.MonkeyPatch, action: Callable[[], Any]) -> Iterator[None]:
    """In the snapshot, do this instead of walking the heap."""

    def look(*_: object, **__: object) -> Found:
        action()
        return found()

    with monkeypatch.context() as patch:
        patch.setattr(_snapshot, "look", look)
        patch.setattr(_snapshot, "tracked_objects", list)
        yield


def asked_of_a_snapshot(monkeypatch: pytest.MonkeyPatch, question: Callable[[], str]) -> str:
    """What a snapshot answers to a question about itself."""

    def look(*_: object, **__: object) -> Found:
        return replace(found(), cut_short=question())

    with monkeypatch.context() as patch:
        patch.setattr(_snapshot, "look", look)
        patch.setattr(_snapshot, "tracked_objects", list)
        census = take_census(BUDGET, 0.0)
    assert isinstance(census, Census), census
    return census.limits.removeprefix("the heap census saw only a part: ")


def fork_with(monkeypatch: pytest.MonkeyPatch, fork: Fork) -> None:
    """Take snapshots with this."""
    tools = _snapshot._prepare()
    assert not isinstance(tools, Refusal)
    monkeypatch.setattr(_snapshot, "_tools", [replace(tools, fork=fork)])


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children() -> list[str]:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


@pytest.fixture(autouse=True)
def _no_trace_left() -> Iterator[None]:
    """Every test here ends with the descriptors, children, mask and threads it began with."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before, threads = open_descriptors(), threading.active_count()
    yield
    assert open_descriptors() == before
    assert children() == []
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert threading.active_count() == threads
    assert _fork._errand is None


def test_a_census_comes_back() -> None:
    """Law: the whole way works: fork, isolate, walk, send, read, reap."""
    census = take_census(BUDGET, 5.0)

    assert isinstance(census, Census)
    assert (census.time_s, census.suspects, census.limits) == (5.0, (), "")
    assert census.objects > 10_000
    assert Summary.decode(census.summary) is not None


def test_a_second_census_names_what_has_grown_between_the_two() -> None:
    """Law: earlier summaries reach the snapshot, except those of looks from inside, which saw less."""
    program = """
from dataclasses import replace
from otel_memleak.diagnosis.census import CensusBudget, take_census
held = []
first = take_census(CensusBudget(), 0.0)
held.extend([object()] for _ in range(200_000))
again = take_census(CensusBudget(), 3600.0, [first], growth_bytes_per_hour=2e7)
alone = take_census(CensusBudget(), 3600.0, [replace(first, in_process=True)], growth_bytes_per_hour=2e7)
print([suspect.owner for suspect in again.suspects], alone.suspects)
"""

    # A process of its own: the heap of the test runner takes long and grows by itself.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "['__main__:held'] ()\n"


def test_a_snapshot_that_overstays_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the parent never waits beyond the deadline."""
    with looking(monkeypatch, lambda: time.sleep(60)):
        refusal = take_census(CensusBudget(deadline_s=0.3), 0.0)

    assert refusal == Refusal("the snapshot took too long")


def test_a_snapshot_that_waits_for_what_nobody_gives_it_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a lock that another thread held at the fork costs a look some seconds, not minutes."""
    monkeypatch.setattr(_child, "_STUCK_S", 0.3)
    held = threading.Lock()
    with held, looking(monkeypatch, held.acquire):
        refusal = take_census(BUDGET, 0.0)

    assert refusal == Refusal("the snapshot waited for a lock that was held at the fork")


def test_a_snapshot_that_works_is_not_taken_for_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: it may take its time, and wait for a processor for as long as it likes."""
    monkeypatch.setattr(_child, "_STUCK_S", 0.3)

    def work() -> None:
        end = time.process_time() + 0.7
        while time.process_time() < end:
            pass

    with looking(monkeypatch, work):
        assert isinstance(take_census(BUDGET, 0.0), Census)


def test_a_snapshot_is_killed_when_we_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: stopping the monitor does not wait for a census."""
    with looking(monkeypatch, lambda: time.sleep(60)):
        refusal = take_census(BUDGET, 0.0, should_stop=lambda: True)

    assert refusal == Refusal("the snapshot was told to stop")


@pytest.mark.parametrize(
    "end",
    [
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os._exit(3),
        lambda: os.abort(),
        lambda: (_ for _ in ()).throw(SystemExit(0)),
        lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
        lambda: (_ for _ in ()).throw(MemoryError()),
    ],
)
def test_a_snapshot_that_dies_is_a_refusal(monkeypatch: pytest.MonkeyPatch, end: Callable[[], Any]) -> None:
    """Law: however the child ends, the parent says so and goes on."""
    with looking(monkeypatch, end):
        assert take_census(BUDGET, 0.0) == Refusal("the snapshot ended early")


def test_nonsense_through_the_pipe_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the parent believes nothing it has not checked."""
    from otel_memleak.diagnosis.census import _message

    monkeypatch.setattr(_message, "encode", lambda _: b"no message at all, but long enough")
    with looking(monkeypatch, lambda: None):
        assert take_census(BUDGET, 0.0) == Refusal("the snapshot sent nonsense")


def test_ignored_children_do_not_hang_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: where the kernel reaps children by itself, we notice that ours is gone."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with looking(monkeypatch, lambda: None):
            assert isinstance(take_census(BUDGET, 0.0), Census)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_an_application_that_reaps_everything_does_not_hang_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a waitpid(-1) loop of the application may take our child's status."""
    stop = threading.Event()

    def reap() -> None:
        while not stop.is_set():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            stop.wait(0.0002)

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        with looking(monkeypatch, lambda: None):
            for _ in range(20):
                assert isinstance(take_census(BUDGET, 0.0), Census)
    finally:
        stop.set()
        thread.join()


def test_statuses_of_other_children_are_left_to_their_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: we wait for our own child by its number and for no other."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(42)"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with looking(monkeypatch, lambda: None):
            assert isinstance(take_census(BUDGET, 0.0), Census)
        assert process.wait() == 42


def test_a_child_that_cannot_be_reaped_yet_is_reaped_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: no zombie is left, not even of a child that died too slowly."""
    monkeypatch.setattr(_child, "_REAP_S", -1.0)
    with looking(monkeypatch, lambda: time.sleep(60)):
        take_census(CensusBudget(deadline_s=0.05), 0.0)
        left = set(_child._left_behind)
    deadline = time.monotonic() + 10
    while _child._left_behind and time.monotonic() < deadline:
        _child.reap_left_behind()

    assert len(left) == 1
    assert _child._left_behind == set()


def test_a_snapshot_holds_no_descriptor_of_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a connection closed by the application is closed for its peer, census or not."""

    def question() -> str:
        links: list[str] = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # that of the listing itself
                links.append(os.readlink(f"/proc/self/fd/{fd}"))
        return ",".join(links)

    ours, peer = socket.socketpair()
    with ours, peer, select.epoll():
        answer = asked_of_a_snapshot(monkeypatch, question)

    assert re.fullmatch(r"pipe:\[\d+\]", answer)


def test_a_snapshot_is_the_most_expendable_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the kernel kills it first, prefers others to it and lets it leave no core dump."""

    def question() -> str:
        import resource

        score = Path("/proc/self/oom_score_adj").read_text().strip()
        core, _ = resource.getrlimit(resource.RLIMIT_CORE)
        return f"{score} {os.getpriority(os.PRIO_PROCESS, 0)} {os.sched_getscheduler(0)} {core}"

    assert asked_of_a_snapshot(monkeypatch, question) == f"1000 5 {os.SCHED_BATCH} 0"


def test_a_snapshot_has_a_memory_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: it fails to allocate before the machine does."""

    def question() -> str:
        try:
            bytearray(2 * BUDGET.memory_bytes)
        except MemoryError:
            return "refused"
        return "given"

    assert asked_of_a_snapshot(monkeypatch, question) == "refused"


def test_signals_do_nothing_in_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a handler of the application's never runs there, nor does its wakeup descriptor."""
    ran: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: ran.append(number))

    def question() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return f"{ran}"

    try:
        assert asked_of_a_snapshot(monkeypatch, question) == "[]"
    finally:
        signal.signal(signal.SIGTERM, before)


def test_threads_that_other_hooks_start_never_get_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: an exporter restarted in the snapshot exports nothing from there."""
    turns: list[int] = []
    here = os.getpid()

    def spin() -> None:
        # As an exporter does: begin, wait for the interval, work.
        time.sleep(0.005)
        turns.append(1)

    def restart() -> None:
        if is_census_fork() and os.getpid() != here and armed:
            threading.Thread(target=spin, daemon=True).start()

    armed = [True]
    os.register_at_fork(after_in_child=restart)
    _register_again()

    def question() -> str:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        return str(len(turns))

    try:
        assert asked_of_a_snapshot(monkeypatch, question) == "0"
    finally:
        armed.clear()


def test_threads_that_other_hooks_start_may_have_the_stacks_of_those_that_are_gone() -> None:
    """Law: what the functions of other threads hold is counted though nothing is left of their C stacks.

    From CPython 3.12 on, the way from a Python function to the one that has called it through C code leads over
    the C stack, and the C library gives it to the next thread: every exporter starts one in a child.
    """
    program = """
        import functools, os, threading
        from otel_memleak.diagnosis.census import Census, CensusBudget, take_census

        def held(_, depth):
            rows = [bytearray(2000) for _ in range(500)]
            if depth:
                return functools.reduce(held, [depth - 1], None)
            entered.release()
            end.wait()

        def start_some():
            for _ in range(8):
                threading.Thread(target=os.getpid, daemon=True).start()

        os.register_at_fork(after_in_child=start_some)
        entered, end = threading.Semaphore(0), threading.Event()
        for _ in range(4):
            threading.Thread(target=held, args=(None, 3), daemon=True).start()
        for _ in range(4):
            entered.acquire()
        census = take_census(CensusBudget(deadline_s=100.0), 0.0)
        assert isinstance(census, Census), census
        assert census.bytes_seen > 4 * 4 * 500 * 2000
        print("counted")
        end.set()
    """
    done = run_program(program)

    assert (done.stdout, done.stderr) == ("counted\n", "")


def _register_again() -> None:
    """Hooks run in the order of registration: put ours behind one that a test has just registered."""
    os.register_at_fork(after_in_child=_fork._after_in_child)


def test_an_application_fork_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a child that another thread forks while we do is the application's, and lives."""
    _fork._register_hook()
    monkeypatch.setattr(_fork, "_errand", _fork._Errand(os.getpid(), 12345, lambda: os._exit(99)))

    pid = make_fork().call()
    if pid == 0:
        os._exit(7 if _fork._errand is None else 8)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    monkeypatch.undo()


def test_hooks_can_tell_the_fork_of_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: in the thread that makes it and in the snapshot; nowhere else."""
    elsewhere: list[bool] = []
    before: list[bool] = []

    def ask() -> None:
        if watched:
            before.append(is_census_fork())
            thread = threading.Thread(target=lambda: elsewhere.append(is_census_fork()))
            thread.start()
            thread.join()

    watched = [True]
    os.register_at_fork(before=ask)
    try:
        assert asked_of_a_snapshot(monkeypatch, lambda: str(is_census_fork())) == "True"
    finally:
        watched.clear()
    assert (before, elsewhere) == ([True], [False])
    assert not is_census_fork()


def test_nothing_is_waited_for_before_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: collections, imports and their locks are left alone: no worker comes of it that would need them."""

    class Holder:
        held = 0

        def before_fork(self) -> None:
            self.held += 1

        def after_fork(self) -> None:
            pass

    holder = Holder()
    forks.register(holder)  # type: ignore[arg-type]  # for the hooks
    forks.unregister(holder)  # type: ignore[arg-type]
    forks.hold_through(holder)
    monkeypatch.setattr(forks, "_left_alone", [])
    forks.leave_alone(is_census_fork)
    with looking(monkeypatch, lambda: None):
        assert isinstance(take_census(BUDGET, 0.0), Census)
    assert holder.held == 0
    pid = make_fork().call()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert holder.held == 1


def test_a_snapshot_is_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's tracemalloc is off in the copy, where it would record the walk, and goes on in the process."""
    tracemalloc.start()
    try:
        assert asked_of_a_snapshot(monkeypatch, lambda: str(tracemalloc.is_tracing())) == "False"
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_locks_held_over_the_fork_are_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: what logging's own hooks lock before the fork is unlocked in the parent after it."""
    with looking(monkeypatch, lambda: None):
        take_census(BUDGET, 0.0)
    lock = logging._lock  # type: ignore[attr-defined]
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=5)) or lock.release())
    thread.start()
    thread.join()

    assert got == [True]


def test_no_snapshot_without_room_for_a_full_copy() -> None:
    """Law: a census never brings the process over its limit."""
    assert take_census(BUDGET, 0.0, headroom_bytes=10 * MB) == Refusal(
        "a full copy would not fit under the memory limit"
    )
    assert isinstance(take_census(BUDGET, 0.0, headroom_bytes=1 << 45), Census)


def test_a_replaced_fork_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a fork that somebody has wrapped (gevent) does more than we know of."""
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))

    assert take_census(BUDGET, 0.0) == Refusal("os.fork has been replaced")


def test_a_snapshot_needs_no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: where eventlet has taken `select.poll` away, a snapshot is read all the same."""
    monkeypatch.delattr(select, "poll")

    assert isinstance(take_census(BUDGET, 0.0), Census)


def test_there_is_no_snapshot_while_the_interpreter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: executors take no work any more then, and fork hooks that use them print tracebacks."""
    monkeypatch.setattr(concurrent.futures.thread, "_shutdown", True)

    assert take_census(BUDGET, 0.0) == Refusal("the interpreter is ending")


def test_without_the_gil_there_is_no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a fork is only a picture of the heap while no other thread is in the middle of changing it."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    monkeypatch.setattr(_snapshot, "_tools", [])

    assert take_census(BUDGET, 0.0) == Refusal("snapshots need CPython with its global lock")


@pytest.mark.parametrize(
    "error", [BlockingIOError("no more processes"), PermissionError(), RuntimeError("no")]
)
def test_a_fork_that_is_refused_is_a_refusal(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Law: a sandbox, a process limit or a sub-interpreter gets a reason, not an exception."""

    def refuse() -> int:
        raise error

    fork_with(monkeypatch, Fork(refuse, tells_libraries=False))
    refusal = take_census(BUDGET, 0.0)

    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith("the snapshot failed")


def run_program(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, because it is about what a whole process does at its end."""
    head = f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n"
    return subprocess.run(
        [sys.executable, *options, "-c", head + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


TAKE = """
    import threading
    from otel_memleak.diagnosis.census import *
    def take():
        taken.append(type(take_census(CensusBudget(), 0.0)).__name__)
    taken = []
    def on_a_thread():
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
"""


def test_forking_among_threads_warns_nobody() -> None:
    """Law: no DeprecationWarning reaches the application, not even where warnings are errors."""
    done = run_program(TAKE + "\n    on_a_thread(); print(taken)\n", "-W", "error")

    assert (done.stdout, done.stderr, done.returncode) == ("['Census']\n", "", 0)


def test_nothing_is_flushed_or_run_at_exit_twice() -> None:
    """Law: buffers and exit handlers of the application are its own."""
    program = """
    import atexit, sys
    atexit.register(lambda: sys.stdout.write("exit\\n"))
    sys.stdout.write("buffered\\n")
    sys.stderr.write("error\\n")
    on_a_thread()
    """
    done = run_program(TAKE + program)

    assert (done.stdout, done.stderr) == ("buffered\nexit\n", "error\n")


def test_thread_local_data_of_other_threads_is_not_finalised() -> None:
    """Law: a connection in a thread-local of another thread is not closed by its copy."""
    program = """
    import os
    class Connection:
        def __del__(self):
            os.write(1, b"closed in %s\\n" % (b"parent" if os.getpid() == here else b"snapshot"))
    here, local, ready, go = os.getpid(), threading.local(), threading.Event(), threading.Event()
    def serve():
        local.connection = Connection()
        ready.set()
        go.wait()
    server = threading.Thread(target=serve)
    server.start()
    ready.wait()
    on_a_thread()
    go.set()
    server.join()
    """
    done = run_program(TAKE + program)

    assert (done.stdout, done.stderr) == ("closed in parent\n", "")


def test_tracers_of_the_application_do_not_trace_a_snapshot() -> None:
    """Law: a profiler or a debugger that follows every thread does not run in the copy."""
    program = """
    import os, sys
    here, strangers = os.getpid(), os.open("/dev/null", os.O_WRONLY)
    seen = []
    def tracer(frame, event, argument):
        if os.getpid() != here and "census/_walk" in frame.f_code.co_filename:
            os._exit(9)
        return tracer
    threading.settrace(tracer)
    threading.setprofile(tracer)
    on_a_thread()
    print(taken)
    """
    done = run_program(TAKE + program)

    assert (done.stdout, done.stderr) == ("['Census']\n", "")


def test_a_process_that_ends_takes_its_snapshot_along() -> None:
    """Law: no snapshot outlives the process it is a copy of."""
    program = """
    import os, sys, time
    from otel_memleak.diagnosis.census import _snapshot
    _snapshot.look = lambda *_, **__: time.sleep(60)
    threading.Thread(target=take, daemon=True).start()
    children = lambda: [int(n) for t in os.listdir("/proc/self/task")
                        for n in open(f"/proc/self/task/{t}/children").read().split()]
    while not children():
        time.sleep(0.01)
    time.sleep(0.3)
    print(children()[0], flush=True)
    os._exit(0)
    """
    done = run_program(TAKE + program)

    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()
