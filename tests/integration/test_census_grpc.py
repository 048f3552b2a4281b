"""Snapshots beside gRPC: calls that are under way are answered, servers go on, and nothing is printed.

gRPC acts on every fork that it is told of; of a snapshot's it is not.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("grpc")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="snapshots are taken on Linux")

PARTS = """
import asyncio, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
from otel_memleak.diagnosis.census import Census, CensusBudget, take_census

class Slow(grpc.GenericRpcHandler):
    def __init__(self):
        self.entered, self.answer = threading.Semaphore(0), threading.Semaphore(0)

    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(self.call)

    def call(self, request, _):
        self.entered.release()
        self.answer.acquire()
        return request

def serve(handler):
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"

def call_on(channel):
    return channel.unary_unary("/test.Service/Call")

def look():
    census = take_census(CensusBudget(deadline_s=100.0), 0.0)
    assert isinstance(census, Census), census

def look_during_six(begin, until_entered, answer):
    for number in range(6):
        answered = begin(b"%d" % number)
        until_entered()
        look()
        answer()
        print(answered.result())
"""

ELSEWHERE = """
reading, writing = os.pipe()
asking, told = os.pipe()
if os.fork() == 0:
    os.close(told)
    handler = Slow()
    server, address = serve(handler)
    os.write(writing, address.encode())
    while os.read(asking, 1):
        handler.entered.acquire()
        os.write(writing, b"!")
        os.read(asking, 1)
        handler.answer.release()
    os._exit(0)
os.close(asking)
address = os.read(reading, 100).decode()

def until_entered():
    os.write(told, b"?")
    assert os.read(reading, 1) == b"!"

def answer():
    os.write(told, b"!")
"""
"""The server in a process of its own, made before gRPC has begun anything in this one."""

BLOCKING = """
def call(request):
    with grpc.insecure_channel(address) as channel:
        return call_on(channel)(request, timeout=60)

with ThreadPoolExecutor(1) as pool:
    look_during_six(lambda request: pool.submit(call, request), until_entered, answer)
os.close(told)
"""

FUTURE = """
with grpc.insecure_channel(address) as channel:
    begin = call_on(channel).future
    look_during_six(lambda request: begin(request, timeout=60), until_entered, answer)
os.close(told)
"""

ASYNCHRONOUS = """
async def main():
    async with grpc.aio.insecure_channel(address) as channel:
        for number in range(6):
            answered = asyncio.ensure_future(call_on(channel)(b"%d" % number, timeout=60))
            await asyncio.to_thread(until_entered)
            await asyncio.to_thread(look)
            answer()
            print(await answered)

asyncio.run(main())
os.close(told)
"""

SERVER = """
handler = Slow()
server, address = serve(handler)
with grpc.insecure_channel(address) as channel:
    begin = call_on(channel).future
    look_during_six(
        lambda request: begin(request, timeout=60), handler.entered.acquire, handler.answer.release
    )
server.stop(None)
"""


@pytest.mark.parametrize(
    "program",
    [ELSEWHERE + BLOCKING, ELSEWHERE + FUTURE, ELSEWHERE + ASYNCHRONOUS, SERVER],
    ids=["blocking", "future", "asynchronous", "server"],
)
def test_a_call_that_is_under_way_is_answered(program: str) -> None:
    """Whoever waits for it and however; gRPC prints a line when a fork meets its threads at work."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PARTS + program],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"b'{number}'" for number in range(6)]
