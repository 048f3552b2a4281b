"""Names and kinds of what a process has open and running; never its contents."""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_memleak.diagnosis._resource_reading import (
    ResourceReader,
    callable_name,
    commonest,
    descriptor_kind,
    read_resources,
    socket_states,
)
from otel_memleak.diagnosis.resources import OTHERS

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Hostile:
    """Runs into the ground whoever asks it anything."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"application code ran: {name}")

    def __call__(self) -> None: ...


def poll(release: threading.Event) -> None:
    release.wait()


class Poller:
    def run(self, release: threading.Event) -> None:
        release.wait()


@contextmanager
def _running(make: Callable[[threading.Event], threading.Thread], number: int = 3) -> Iterator[None]:
    release = threading.Event()
    threads = [make(release) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        release.set()
        for thread in threads:
            thread.join()


def _thread_names() -> dict[str, int]:
    return dict(read_resources(0.0).threads or {})


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (poll, f"{__name__}:poll"),
        (functools.partial(functools.partial(poll)), f"{__name__}:poll"),
        (Poller().run, f"{__name__}:Poller.run"),
    ],
)
def test_threads_are_named_by_what_they_run(target: Callable[[threading.Event], None], name: str) -> None:
    """Thread-1234 says nothing; the function says where to look."""
    with _running(lambda release: threading.Thread(target=target, args=(release,), name="customer 4711")):
        names = _thread_names()

    assert names[name] == 3
    assert not any("customer" in given for given in names), "thread names are the application's data"


def test_threads_of_a_pool_are_one_name_with_its_prefix() -> None:
    """All pools run the same function; the prefix tells whose it is, the number is noise."""
    with ThreadPoolExecutor(3, thread_name_prefix="shop-io") as pool:
        barrier = threading.Barrier(4)
        for _ in range(3):
            pool.submit(barrier.wait)
        names = _thread_names()
        barrier.wait()

    assert names["concurrent.futures.thread:_worker [shop-io]"] == 3


def test_timers_are_named_by_what_they_will_call() -> None:
    """A timer re-armed on every request is a thread leak that hides behind the class."""
    timers = [threading.Timer(60.0, poll) for _ in range(2)]
    for timer in timers:
        timer.start()
    names = _thread_names()
    for timer in timers:
        timer.cancel()
        timer.join()

    assert names[f"threading:Timer [{__name__}:poll]"] == 2


def test_threads_python_does_not_know_are_counted() -> None:
    """A native library's threads leak too, and nothing else shows them."""
    known = sum(_thread_names().values())

    assert dict(read_resources(0.0, native_threads=known + 7).threads or {})["(not Python's)"] == 7


@pytest.mark.parametrize("make", [Hostile, lambda: functools.partial(Hostile()), lambda: 7, lambda: Hostile])
def test_no_code_of_the_application_runs_to_name_a_callable(make: Callable[[], object]) -> None:
    """A `__getattr__` may take a lock, call the network, or raise."""
    assert callable_name(make()) == ""


@linux
def test_descriptors_are_counted_by_kind(tmp_path: Path) -> None:
    """More sockets or more files is the question; which file is nobody's business."""
    before = dict(read_resources(0.0).descriptors or {})
    pairs = [socket.socketpair() for _ in range(4)]
    ends = os.pipe()
    files = [(tmp_path / f"secret{number}").open("w") for number in range(3)]
    after = dict(read_resources(0.0).descriptors or {})
    for left, right in pairs:
        left.close()
        right.close()
    for end in ends:
        os.close(end)
    for file in files:
        file.close()

    grown = {kind: count - before.get(kind, 0) for kind, count in after.items()}
    assert {kind: count for kind, count in grown.items() if count} == {"socket": 8, "pipe": 2, "file": 3}


@linux
def test_sockets_the_peer_has_left_are_seen() -> None:
    """CLOSE_WAIT that only grows is a connection nobody closes: the classic."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = dict(read_resources(0.0).sockets or {})
        clients = [socket.create_connection(server.getsockname()) for _ in range(3)]
        for _ in clients:
            accepted, _address = server.accept()
            accepted.close()
        for client in clients:
            assert client.recv(1) == b""
        after = dict(read_resources(0.0).sockets or {})
        for client in clients:
            client.close()

    assert after["CLOSE_WAIT"] - before.get("CLOSE_WAIT", 0) == 3
    assert before["LISTEN"] >= 1


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("socket:[12345]", "socket"),
        ("pipe:[1]", "pipe"),
        ("anon_inode:[eventpoll]", "eventpoll"),
        ("anon_inode:[eventfd]", "eventfd"),
        ("anon_inode:inotify", "inotify"),
        ("anon_inode:[io_uring]", "io_uring"),
        ("anon_inode:", "other"),
        ("/memfd:name (deleted)", "memfd"),
        ("/dev/null", "device"),
        ("/proc/1/fd", "proc"),
        ("/home/alice/taxes.pdf", "file"),
        ("mnt:[4026531840]", "other"),
        ("", "other"),
    ],
)
def test_a_link_tells_its_kind_and_nothing_else(target: str, kind: str) -> None:
    """Paths and inode numbers stay in the process."""
    assert descriptor_kind(target) == kind


def test_only_sockets_of_this_process_count() -> None:
    """The kernel's table lists those of everybody in the network namespace."""
    table = [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0",
        "   1: 0100007F:1F90 0100007F:8F3C 08 00000000:00000000 00:00000000 00000000     0        0 12 1 0",
        "   2: 0100007F:1F90 0100007F:8F3E 08 00000000:00000000 00:00000000 00000000     0        0 99 1 0",
        "   3: 0100007F:1F90 0100007F:8F3E FF 00000000:00000000 00:00000000 00000000     0        0 13 1 0",
        "garbage",
    ]

    assert list(socket_states(table, {"11", "12", "13"})) == ["LISTEN", "CLOSE_WAIT", "other"]


def test_the_number_of_names_is_bounded() -> None:
    """A program that makes a function per request must not make a reading grow."""
    names = commonest({f"f{number}": number for number in range(1000)})

    assert len(names) == 65
    assert names["f999"] == 999
    assert sum(names.values()) == sum(range(1000))
    assert names[OTHERS] == sum(range(936))


def test_without_proc_the_rest_is_still_read(tmp_path: Path) -> None:
    """Windows and macOS have threads and tasks, and no /proc."""
    reading = read_resources(5.0, proc_root=str(tmp_path))

    assert (reading.time_s, reading.descriptors, reading.sockets) == (5.0, None, None)
    assert sum((reading.threads or {}).values()) >= 1


def make_proc(root: Path, sockets: int) -> str:
    """A process with so many sockets, every fourth one half closed, and one file."""
    folder = root / "self" / "fd"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(list(folder.iterdir())), sockets):
        (folder / str(number)).symlink_to(f"socket:[{number}]")
    net = root / "self" / "net"
    net.mkdir(exist_ok=True)
    lines = [f"0: A B {'08' if n % 4 == 0 else '01'} 0 0 0 0 0 {n} 1" for n in range(sockets)]
    (net / "tcp").write_text("\n".join(lines))
    return str(root)


@linux
def test_of_very_many_descriptors_a_part_stands_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand connections are told to a few percent, at the price of two thousand."""
    asked: list[str] = []
    readlink = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: asked.append(path) or readlink(path))

    reading = read_resources(0.0, proc_root=make_proc(tmp_path, 10_000))

    assert len(asked) < 2500
    assert reading.descriptors == {"socket": 10_000}
    assert dict(reading.sockets or {}) == {
        "ESTABLISHED": pytest.approx(7500, rel=0.05),
        "CLOSE_WAIT": pytest.approx(2500, rel=0.1),
    }


@linux
def test_states_are_asked_for_once_there_are_more_sockets_than_at_first(tmp_path: Path) -> None:
    """The kernel walks the whole host's table for them; where sockets do not grow there is nothing to learn."""
    reader = ResourceReader(cpu_timer_s=lambda: 0.0, proc_root=make_proc(tmp_path, 20))
    at_first = reader.read(0.0)
    make_proc(tmp_path, 40)
    grown = reader.read(60.0)
    later = reader.read(120.0)

    assert at_first is not None
    assert grown is not None
    assert later is not None
    assert (at_first.sockets, grown.sockets) == (None, None)
    assert later.sockets == {"ESTABLISHED": 30, "CLOSE_WAIT": 10}


def test_readings_take_a_hundredth_of_the_time(tmp_path: Path) -> None:
    """A reading that took a third of a second of CPU time is made up for with half a minute of rest."""
    clock = iter([0.0, 0.3, 1.0, 1.0])
    reader = ResourceReader(cpu_timer_s=lambda: next(clock), proc_root=str(tmp_path))

    taken = [reader.read(time_s) is not None for time_s in (0.0, 10.0, 29.9, 30.1)]

    assert taken == [True, False, False, True]
