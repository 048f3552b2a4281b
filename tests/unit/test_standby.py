"""Before the engine: what is there at once, what is not, and that nothing is lost by it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from otel import InMemoryTelemetry
from otel_memleak.guard import Guard
from otel_memleak.settings import resolve
from otel_memleak.standby import Providers, Standby, _forks_in_c

WAIT_S = 10.0
LONG: dict[str, Any] = {"rss_warning": 0, "rss_critical": 0}


@pytest.fixture
def standby(telemetry: InMemoryTelemetry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standby]:
    """One that would not load anything by itself before a test ends."""
    monkeypatch.setattr("otel_memleak.standby.DELAY_S", 600.0)
    made = Standby(resolve(LONG), Providers(**telemetry.providers), None, Guard())
    yield made
    made.close()


def wait_for_engine(standby: Standby) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if standby.engine is not None and standby.engine.status is not None:
            return
        pause.wait(0.01)
    raise AssertionError("no sample")


def test_a_process_that_ends_at_once_never_loads_the_engine() -> None:
    """Scripts and command lines are instrumented, too; they pay for what they use."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print([m for m in sys.modules if m.startswith(('otel_memleak.engine',"
        " 'otel_memleak.detector', 'otel_memleak.probes', 'otel_memleak.diagnosis'))]))\n"
        "from otel_memleak import MemLeakInstrumentor; MemLeakInstrumentor().instrument()\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_first_collection_of_metrics_does_not_wait(
    standby: Standby, telemetry: InMemoryTelemetry
) -> None:
    """Who exports every quarter of a second need not wait for the rest of a minute."""
    standby.start()
    assert telemetry.metrics() == {}

    wait_for_engine(standby)

    assert telemetry.metrics()["memleak.process.rss"][0].value > 1_000_000


def test_a_span_as_old_as_the_process_is_known_later(standby: Standby, telemetry: InMemoryTelemetry) -> None:
    """A batch job has one request, and that begins before anything is loaded."""
    standby.start()
    span = telemetry.tracer_provider.get_tracer("job").start_span("nightly")

    engine = standby.load()
    assert engine is not None
    engine._follow_providers()
    assert engine._responder.alerts is not None
    assert engine._responder.alerts._inflight is not None

    assert [s.get_span_context() for s in engine._responder.alerts._inflight.longest_running(5)] == [
        span.get_span_context()
    ]


def test_closing_before_the_engine_is_there(standby: Standby, telemetry: InMemoryTelemetry) -> None:
    """Nothing is loaded afterwards, nothing stays behind, and another may take the place."""
    standby.start()
    thread = standby._ticker.thread

    standby.close()

    assert thread is not None
    assert not thread.is_alive()
    assert standby.load() is None
    telemetry.tracer_provider.get_tracer("job").start_span("later")
    assert standby._open_spans is not None
    assert len(standby._open_spans) == 0
    other = Standby(resolve(LONG), Providers(**telemetry.providers), None, Guard())
    assert other._metrics.bind(other)
    other._metrics.unbind()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("loaded", [False, True])
def test_a_child_is_watched_whether_the_parent_had_the_engine_or_not(standby: Standby, loaded: bool) -> None:
    """Servers fork their workers in the first second of their lives; the parent's delay is not the child's."""
    standby.start()
    if loaded:
        assert standby.load() is not None

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if not loaded:
                standby._ticker.wake()
            wait_for_engine(standby)
            engine = standby.engine
            status = 0 if engine is not None and engine.status is not None and engine.running else 1
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (standby.engine is not None) is loaded


def test_a_trace_of_allocations_begins_at_once(telemetry: InMemoryTelemetry) -> None:
    """What is allocated in the second before could never be told from what is not traced at all."""
    standby = Standby(
        resolve({**LONG, "tier": "development"}), Providers(**telemetry.providers), None, Guard()
    )
    standby.start()

    assert tracemalloc.is_tracing()
    standby.close()
    assert not tracemalloc.is_tracing()


HURRIED = """
import sys
from otel_memleak import MemLeakInstrumentor
MemLeakInstrumentor().instrument(sampling_interval=int(sys.argv[1]))
print(sum(f"otel_memleak.{name}" in sys.modules for name in ("engine", "diagnosis.investigation", "emission.notice")))
"""


@pytest.mark.parametrize(("interval_ms", "loaded"), [(250, "3"), (1000, "0"), (60_000, "0")])
def test_who_samples_many_times_a_second_waits_for_nothing(interval_ms: int, loaded: str) -> None:
    """Law: a program of a second is watched from its first line, and what we load never looks like its growth."""
    command = [sys.executable, "-c", HURRIED, str(interval_ms)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert (done.stdout.strip(), done.stderr) == (loaded, "")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [(["uwsgi", "--ini", "x"], True), (["/usr/bin/uwsgi-core"], True), (["python", "-m", "app"], False)],
)
def test_uwsgi_is_recognised(monkeypatch: pytest.MonkeyPatch, argv: list[str], expected: bool) -> None:
    """Its forks run no hook of Python's before them, so nothing may be half loaded when they happen."""
    monkeypatch.setattr(sys, "orig_argv", argv)

    assert _forks_in_c() is expected


def test_under_uwsgi_the_engine_is_there_at_once(standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    """See above."""
    monkeypatch.setattr("otel_memleak.standby._forks_in_c", lambda: True)

    standby.start()

    assert standby.engine is not None


def test_an_engine_that_is_loaded_twice_at_once_is_made_once(standby: Standby) -> None:
    """The thread that fetches it and somebody who cannot wait."""
    standby.start()
    found: list[object] = []
    loaders = [threading.Thread(target=lambda: found.append(standby.load())) for _ in range(4)]
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join(WAIT_S)

    assert len(found) == 4
    assert len({id(engine) for engine in found}) == 1
