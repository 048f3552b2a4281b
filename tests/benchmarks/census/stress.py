"""Many censuses in a process that makes it hard, while their snapshots are killed at random moments.

    python -m benchmarks.census.stress [--censuses N] [--whole-every N]

Eight threads fight for the GIL, an event loop ticks, a gRPC exporter sends spans to a collector in another
process, a process pool works, and children of the application's own come and go. At the end every span must
have arrived exactly once, and no zombie, descriptor or thread may be left. Exit status 0 if so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

from otel_memleak.diagnosis.census import Census, CensusBudget, _snapshot, take_census
from otel_memleak.diagnosis.census._look import Found, look

FIGHTERS = 8
SPANS_PER_S = 200
_EARLY = "the snapshot ended early"
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def collect(address: str, connection: Any) -> None:
    """A collector: remembers the names of spans until asked for them."""
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace

    names: list[str] = []

    def export(request: Any, _: Any) -> Any:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                names.extend(span.name for span in scope.spans)
        return trace.ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export,
        request_deserializer=trace.ExportTraceServiceRequest.FromString,
        response_serializer=trace.ExportTraceServiceResponse.SerializeToString,
    )

    class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
        def service(self, details: Any) -> Any:
            return handler if details.method == _EXPORT else None

    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Service(),))
    port = server.add_insecure_port(address)
    server.start()
    connection.send(port)
    connection.recv()
    connection.send(names)


def square(number: int) -> int:
    """Work for the pool."""
    return number * number


class Burden:
    """All that goes on at once; each part counts what it does."""

    def __init__(self, port: int) -> None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self.done: Counter[str] = Counter()
        self.stop = threading.Event()
        self.errors: list[str] = []
        self.provider = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=f"127.0.0.1:{port}", insecure=True)
        self.provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
        self.pool = futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
        parts = [self.fight] * FIGHTERS + [self.tick, self.trace, self.compute, self.spawn, self.kill]
        self.threads = [threading.Thread(target=self.guarded, args=(part,)) for part in parts]

    def guarded(self, part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:
            self.errors.append(f"{part.__name__}: {error!r}")

    def fight(self) -> None:
        rows: list[dict[str, object]] = []
        while not self.stop.is_set():
            rows = [{"number": number, "text": str(number)} for number in range(2000)]
            self.done["fight"] += 1
        rows.clear()

    def tick(self) -> None:
        async def run() -> None:
            while not self.stop.is_set():
                await asyncio.sleep(0.001)
                self.done["tick"] += 1

        asyncio.run(run())

    def trace(self) -> None:
        tracer = self.provider.get_tracer("stress")
        while not self.stop.wait(1 / SPANS_PER_S):
            tracer.start_span(f"span {self.done['span']}").end()
            self.done["span"] += 1

    def compute(self) -> None:
        while not self.stop.wait(0.02):
            if self.pool.submit(square, 12).result(60) != 144:
                self.errors.append("the pool miscounted")
            self.done["pool"] += 1

    def spawn(self) -> None:
        while not self.stop.wait(0.2):
            if subprocess.run(["/bin/sh", "-c", "exit 5"], check=False).returncode != 5:
                self.errors.append("a status was stolen")
            self.done["child"] += 1

    def kill(self) -> None:
        """Kill every second snapshot, each at a moment of its own; the others may end as they like."""
        chance = random.Random(1)
        known: set[int] = set()
        while not self.stop.wait(chance.random() * 0.1):
            there = set(snapshots())
            for pid in there - known:
                if chance.random() < 0.5:
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.done["killed"] += 1
            known = there


def snapshots() -> list[int]:
    """Children whose standard descriptors are closed, as only a snapshot's are."""
    found: list[int] = []
    for pid in children():
        with contextlib.suppress(OSError):
            if (
                not Path(f"/proc/{pid}/fd/2").exists()
                and Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
            ):
                found.append(pid)
    return found


def children() -> list[int]:
    """All children of this process."""
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            found.extend(map(int, Path(f"/proc/self/task/{task}/children").read_text().split()))
    return found


def short_look(*arguments: Any, **options: Any) -> Found:
    """The beginning of a look: for many forks in little time."""
    end = time.monotonic() + random.random() * 0.05
    return look(*arguments, **{**options, "pace": lambda: "enough" if time.monotonic() > end else ""})


def measure(censuses: int, whole_every: int) -> list[str]:
    """Take them and return what went wrong."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    collector = multiprocessing.get_context("spawn").Process(target=collect, args=("127.0.0.1:0", theirs))
    collector.start()
    burden = Burden(ours.recv())
    for thread in burden.threads:
        thread.start()
    time.sleep(2)
    descriptors = len(os.listdir("/proc/self/fd"))
    outcomes: Counter[str] = Counter()
    longest_s = 0.0
    for number in range(censuses):
        whole = whole_every and number % whole_every == 0
        _snapshot.look = look if whole else short_look
        began = time.monotonic()
        result = take_census(CensusBudget(deadline_s=30), began)
        longest_s = max(longest_s, time.monotonic() - began)
        outcomes["census" if isinstance(result, Census) else result.reason] += 1
    problems = _aftermath(burden, ours, descriptors)
    collector.join(10)
    print(f"{censuses} censuses, longest {longest_s:.1f} s: {dict(outcomes)}; meanwhile {dict(burden.done)}")
    if longest_s > 33:
        problems.append(f"waited {longest_s:.1f} s")
    if not outcomes["census"]:
        problems.append("no census at all")
    if strange := outcomes.keys() - {"census", _EARLY}:
        problems.append(f"refused: {sorted(strange)}")
    early = censuses - outcomes["census"]
    if early > burden.done["killed"]:
        problems.append(f"{early} ended early, of which only {burden.done['killed']} were killed")
    return problems


def _aftermath(burden: Burden, collector: Any, descriptors: int) -> list[str]:
    left = snapshots() + [pid for pid in children() if _is_zombie(pid)]
    time.sleep(0.5)
    left = [pid for pid in left if _is_zombie(pid)]
    after = len(os.listdir("/proc/self/fd"))
    burden.stop.set()
    for thread in burden.threads:
        thread.join(60)
    problems = list(burden.errors)
    problems += [f"{thread.name} hangs" for thread in burden.threads if thread.is_alive()]
    burden.pool.shutdown()
    burden.provider.shutdown()
    collector.send("how many?")
    received = Counter(collector.recv())
    expected = {f"span {number}" for number in range(burden.done["span"])}
    if left:
        problems.append(f"zombies: {left}")
    if after > descriptors + 2:
        problems.append(f"descriptors: {descriptors} before, {after} after")
    if set(received) != expected or max(received.values()) != 1:
        twice = sum(1 for count in received.values() if count > 1)
        problems.append(f"{len(expected - set(received))} spans lost, {twice} twice")
    return problems


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return False


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--censuses", type=int, default=1000)
    parser.add_argument("--whole-every", type=int, default=50)
    arguments = parser.parse_args()
    problems = measure(arguments.censuses, arguments.whole_every)
    for problem in problems:
        print("FAILED:", problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
