"""No snapshot is taken while a call of gRPC's is under way: the fork might cost the answer."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from otel_memleak import frames
from otel_memleak.diagnosis.census import CensusBudget, Refusal, _grpc, take_census

grpc = pytest.importorskip("grpc")

SLOW_SERVER = """
import grpc, sys
from concurrent.futures import ThreadPoolExecutor

class Handler:
    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(self.call)

    def call(self, request, _):
        print("entered", flush=True)
        sys.stdin.readline()
        return request

server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((Handler(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


class SlowServer:
    """Another process, which answers a call when it is told to."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SLOW_SERVER]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = f"127.0.0.1:{self.read()}"

    def read(self) -> str:
        """The next line it prints."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def answer(self) -> None:
        """Have it answer one call."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[SlowServer]:
    server = SlowServer()
    yield server
    server.close()


@pytest.fixture
def channel(server: SlowServer) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


Call = Callable[[Any], object]


def blocking(call: Any) -> object:
    return call(b"", timeout=60)


def future(call: Any) -> object:
    return call.future(b"", timeout=60).result()


@contextmanager
def calling(server: SlowServer, channel: Any, call: Call = blocking) -> Iterator[None]:
    """While a call is under way."""
    thread = threading.Thread(target=call, args=(channel.unary_unary("/test.Service/Call"),))
    thread.start()
    assert server.read() == "entered"
    yield
    server.answer()
    thread.join()


def quiet_at_once() -> bool:
    """Without any patience."""
    return _grpc.wait_for_quiet(clock_s=itertools.count(0.0, 10.0).__next__)


@pytest.mark.parametrize("call", [blocking, future])
def test_a_call_is_under_way_until_it_is_answered(server: SlowServer, channel: Any, call: Call) -> None:
    """However it is waited for."""
    assert quiet_at_once()
    with calling(server, channel, call):
        assert not quiet_at_once()
    assert _grpc.wait_for_quiet()


def test_a_snapshot_is_refused_while_a_call_is_under_way(
    server: SlowServer, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer matters more than the look."""
    monkeypatch.setattr(_grpc, "_PATIENCE_S", 0.05)
    budget = CensusBudget(deadline_s=100.0)
    with calling(server, channel):
        refused = take_census(budget, 0.0)

    assert refused == Refusal("a fork would interrupt the calls of gRPC that are under way")


def test_a_snapshot_outlives_the_threads_of_grpc_that_are_started_in_it(
    server: SlowServer, channel: Any
) -> None:
    """They abort a process in which somebody has closed what they wait with; it takes them a moment."""
    for _ in range(6):
        with calling(server, channel):
            pass
        assert not isinstance(take_census(CensusBudget(deadline_s=100.0), 0.0), Refusal)


def test_a_snapshot_waits_for_the_end_of_a_call(server: SlowServer, channel: Any) -> None:
    """An exporter's takes milliseconds."""
    looks: list[float] = []

    def answered_at_the_third_look() -> bool:
        looks.append(0.0)
        if len(looks) == 3:
            server.answer()
        return False

    thread = threading.Thread(target=blocking, args=(channel.unary_unary("/test.Service/Call"),))
    thread.start()
    assert server.read() == "entered"

    assert _grpc.wait_for_quiet(answered_at_the_third_look, clock_s=lambda: 0.0)
    assert len(looks) >= 3
    thread.join()


def test_whoever_is_told_to_stop_does_not_wait(server: SlowServer, channel: Any) -> None:
    """A process that ends does not wait for somebody's call."""
    with calling(server, channel):
        assert not _grpc.wait_for_quiet(lambda: True, clock_s=lambda: 0.0)


def test_where_threads_cannot_be_looked_at_there_is_no_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process forked in C nobody knows what is under way."""
    assert quiet_at_once()
    monkeypatch.setattr(frames, "_stale", [True])

    assert not quiet_at_once()


def test_a_channel_that_is_watched_is_no_call(channel: Any) -> None:
    """Its state is polled for by a thread of gRPC's as long as somebody wants to know."""
    ready = threading.Event()

    def noticed(state: Any) -> None:
        if state is grpc.ChannelConnectivity.READY:
            ready.set()

    channel.subscribe(noticed, try_to_connect=True)
    assert ready.wait(60)

    assert _grpc.wait_for_quiet()
    channel.unsubscribe(noticed)


@pytest.mark.parametrize(
    "begun",
    [
        "kept = grpc.aio.insecure_channel('127.0.0.1:1')",
        "kept = grpc.server(ThreadPoolExecutor(1)); kept.start()",
    ],
)
def test_calls_that_cannot_be_seen_count_as_under_way(begun: str) -> None:
    """Asynchronous ones are in no frame, those of a server are in its core before Python hears of them."""
    program = (
        "import asyncio, grpc\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from otel_memleak.diagnosis.census._grpc import wait_for_quiet\n"
        "async def main():\n"
        "    before = wait_for_quiet()\n"
        f"    {begun}\n"
        "    print(before, wait_for_quiet(clock_s=lambda: 0.0))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.split() == ["True", "False"]
