"""A fork in the middle of a collection, and connections that a fork would share."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader

from otel_memleak.emission import fork_locks
from otel_memleak.emission.fork_locks import hold, let_go, mend

WAIT_S = 10.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("repair", [True, False])
def test_the_child_can_collect_although_the_parent_was_collecting(repair: bool) -> None:
    """Without the repair a worker forked at the wrong moment never exports a metric; with it, it does."""
    collecting, go_on = threading.Event(), threading.Event()

    def slow(options: CallbackOptions) -> Iterable[Observation]:
        collecting.set()
        go_on.wait(WAIT_S)
        return [Observation(1)]

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    meter = provider.get_meter("test")
    meter.create_observable_gauge("slow", callbacks=[slow])
    meter.create_counter("count").add(1)
    thread = threading.Thread(target=reader.get_metrics_data)
    thread.start()
    assert collecting.wait(WAIT_S)

    pid = os.fork()
    if pid == 0:
        replaced = mend(provider) if repair else 0
        go_on.set()
        collector = threading.Thread(target=reader.get_metrics_data, daemon=True)
        collector.start()
        collector.join(1.0)
        os._exit(0 if collector.is_alive() is not repair and bool(replaced) is repair else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    go_on.set()
    thread.join(WAIT_S)
    provider.shutdown()

    assert code == 0


def test_free_locks_and_foreign_objects_are_left_alone() -> None:
    """Only what is stuck is touched, and only in the SDK's own objects."""

    class Foreign:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.lock.acquire()

    foreign = Foreign()
    provider = MeterProvider(metric_readers=[InMemoryMetricReader()])
    provider.theirs = foreign  # type: ignore[attr-defined]
    lock = provider._lock

    assert mend(provider) == 0
    assert provider._lock is lock
    assert foreign.lock.locked()
    assert mend(foreign) == 0
    provider.shutdown()


EARLY_READER = """
import os, sys, threading, time
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_memleak import MemLeakInstrumentor
from otel_memleak.emission import fork_locks

fork_locks._HOLD_S = float(sys.argv[1])
parent, collecting = os.getpid(), threading.Event()

def slow(options):
    collecting.set()
    time.sleep(float(sys.argv[2]) if os.getpid() == parent else 0.02)
    return [Observation(1)]

reader = InMemoryMetricReader()
provider = MeterProvider(metric_readers=[reader])
provider.get_meter("test").create_observable_gauge("slow", callbacks=[slow])
collectors = []

def start_reader():
    collectors.append(threading.Thread(target=reader.collect, daemon=True))
    collectors[-1].start()
    time.sleep(0.1)  # it has come for the lock before anybody has freed it

os.register_at_fork(after_in_child=start_reader)
MemLeakInstrumentor().instrument(meter_provider=provider)

def collect():
    while True:
        reader.collect()
        time.sleep(0.005)

threading.Thread(target=collect, daemon=True).start()
silent = 0
collecting.wait(30)
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        collectors[-1].join(10)
        os._exit(collectors[-1].is_alive())
    silent += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print("silent", silent)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("hold_s", "collection_s"), [(30.0, 0.02), (0.05, 5.0)])
def test_a_reader_that_is_quicker_than_the_repair_is_not_lost(hold_s: float, collection_s: float) -> None:
    """The SDK starts it before our hook runs; it must wait for us, not for a thread of the parent.

    Also where the parent's collection outlasts every patience of a fork.
    """
    command = [sys.executable, "-W", "ignore", "-c", EARLY_READER, str(hold_s), str(collection_s)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert (done.stdout, done.returncode) == ("silent 0\n", 0), done.stderr


def test_no_collection_begins_while_one_is_held_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held by the thread that forks until it lets go; letting go twice, or without holding, is harmless.

    A collection that does not end in time keeps its lock; those that follow meet another one.
    """
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    lock = provider._measurement_consumer._lock
    assert hold(provider)
    assert lock.locked()
    assert mend(provider) == 0, "what we hold ourselves is no lock of a dead thread"
    let_go()
    let_go()
    assert not lock.locked()
    assert not hold(object())

    monkeypatch.setattr(fork_locks, "_HOLD_S", 0.01)
    with lock:
        assert hold(provider)
        another = provider._measurement_consumer._lock
        assert another.locked()
        let_go()
        assert lock.locked()
    assert not another.locked()
    provider.shutdown()


class Backend(ThreadingHTTPServer):
    """Keeps its connections open and notes on which one each request has come."""

    def __init__(self) -> None:
        self.ports: list[int] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.server.ports.append(self.client_address[1])  # type: ignore[attr-defined]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exporter_does_not_share_its_connection_with_the_parent() -> None:
    """Two processes on one socket read each other's answers: exports are garbled, lost or sent twice."""
    backend = Backend()
    serving = threading.Thread(target=backend.serve_forever, daemon=True)
    serving.start()
    exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{backend.server_port}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
    provider = MeterProvider(metric_readers=[reader])
    provider.get_meter("test").create_counter("count").add(1)

    provider.force_flush()
    provider.force_flush()
    replaced = mend(provider)
    provider.force_flush()
    provider.shutdown()
    backend.shutdown()
    backend.server_close()
    gc.collect()

    first, second, third = backend.ports
    assert first == second
    assert third != first
    assert replaced >= 1
