"""The instrumentor: starting, stopping, refusing, and leaving nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otel import InMemoryTelemetry
from otel_memleak import LeakAlert, MemLeakInstrumentor
from otel_memleak import guard as guard_module
from otel_memleak.declarative import Declared
from otel_memleak.engine import Engine
from otel_memleak.instrumentor import _runs_module
from otel_memleak.ticker import THREAD_NAME

WAIT_S = 10.0
QUICK: dict[str, Any] = {"sampling_interval": 10, "baseline_window": 100, "patience": 400}


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def the_engine() -> Engine:
    """That of this process, without the second that it takes its time to load."""
    standby = MemLeakInstrumentor()._standby
    assert standby is not None
    engine = standby.load()
    assert engine is not None
    standby._ticker.wake()
    return engine


def wait_for_sample() -> None:
    engine = the_engine()
    pause = threading.Event()
    for _ in range(1000):
        if engine.status is not None:
            return
        pause.wait(0.01)
    raise AssertionError("no sample")


def test_instrumenting_starts_one_thread_and_uninstrumenting_ends_it(telemetry: InMemoryTelemetry) -> None:
    """The pair undoes itself: thread, metrics, and all."""
    MemLeakInstrumentor().instrument(**telemetry.providers)
    wait_for_sample()
    assert len(threads()) == 1
    assert telemetry.metrics()["memleak.process.rss"][0].value > 1_000_000

    MemLeakInstrumentor().uninstrument()

    assert threads() == []
    # The SDK goes on exporting a histogram's past; nothing is added to it, and nothing else is left.
    assert set(telemetry.metrics()) <= {"memleak.process.rss.distribution"}


def test_it_can_be_done_any_number_of_times(telemetry: InMemoryTelemetry) -> None:
    """Every round works like the first one, and the rounds do not add up in objects.

    Thresholds are off: a test process of more than 256 MB would be told so in every round, and the telemetry
    kept in memory here would be what grows.
    """

    def cycle() -> None:
        MemLeakInstrumentor().instrument(**telemetry.providers, rss_warning=0, rss_critical=0)
        MemLeakInstrumentor().uninstrument()

    for _ in range(5):
        cycle()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        cycle()
    gc.collect()

    assert len(gc.get_objects()) - before < 50
    MemLeakInstrumentor().instrument(**telemetry.providers)
    wait_for_sample()
    assert "memleak.process.rss" in telemetry.metrics()


def test_a_second_constructor_call_does_not_lose_the_engine() -> None:
    """The base class runs __init__ at every call of the singleton."""
    MemLeakInstrumentor().instrument()
    standby = MemLeakInstrumentor()._standby

    assert standby is not None
    assert MemLeakInstrumentor()._standby is standby


def test_it_is_a_process_level_instrumentor() -> None:
    """Nothing needs to be installed for a process to have memory."""
    assert isinstance(MemLeakInstrumentor(), BaseInstrumentor)
    assert list(MemLeakInstrumentor().instrumentation_dependencies()) == []


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"sampling_interval": "x"}, "sampling_interval"),
        ({"colour": 1}, "colour"),
        ({"on_alert": 1}, "on_alert"),
    ],
)
def test_a_bad_argument_is_a_value_error_naming_it(settings: dict[str, Any], name: str) -> None:
    """Loud at configuration; and the instrumentor can still be used afterwards."""
    with pytest.raises(ValueError, match=name):
        MemLeakInstrumentor().instrument(**settings)

    assert threads() == []
    MemLeakInstrumentor().instrument()
    assert len(threads()) == 1


def test_a_bad_environment_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A typo in a manifest must not keep the service from starting."""
    monkeypatch.setenv("OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL", "1m")

    MemLeakInstrumentor().instrument()

    assert "OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL='1m'" in caplog.text
    assert len(threads()) == 1


def test_the_environment_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configurator passes the file as keywords; they must not win over the environment."""
    monkeypatch.setenv("OTEL_PYTHON_MEMLEAK_HISTORY_SIZE", "12")

    MemLeakInstrumentor().instrument(history_size=Declared(13), alert_interval=Declared(5000))
    engine = the_engine()

    assert engine.settings.history_size == 12
    assert engine.settings.alert_interval_seconds == 5


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_SDK_DISABLED", "True"), ("OTEL_PYTHON_MEMLEAK_TIER", "disabled")]
)
def test_switched_off_means_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, telemetry: InMemoryTelemetry, variable: str, value: str
) -> None:
    """No thread, no instruments; uninstrument() is still fine."""
    monkeypatch.setenv(variable, value)

    MemLeakInstrumentor().instrument(**telemetry.providers)

    assert threads() == []
    assert telemetry.metrics() == {}
    MemLeakInstrumentor().uninstrument()


def test_disabled_imports_nothing_that_need_not_be() -> None:
    """Switched off in a manifest, the package costs a few small modules and no thread."""
    code = (
        "import sys, threading; from otel_memleak import MemLeakInstrumentor; MemLeakInstrumentor().instrument();"
        "heavy = [m for m in sys.modules if m.startswith(('otel_memleak.engine', 'otel_memleak.detector',"
        " 'otel_memleak.probes', 'otel_memleak.emission', 'otel_memleak.aio', 'psutil', 'tracemalloc', 'grpc',"
        " 'opentelemetry.sdk'))];"
        "print(heavy, threading.active_count())"
    )
    env = {**os.environ, "OTEL_PYTHON_MEMLEAK_TIER": "disabled"}

    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[] 1"


def test_a_failure_to_start_does_not_reach_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception out of instrument() would keep every other instrumentation from loading."""
    monkeypatch.setattr(guard_module, "reraise", False)

    def broken(self: object) -> None:
        raise OSError("no threads today")

    monkeypatch.setattr("otel_memleak.engine.Engine.start", broken)

    MemLeakInstrumentor().instrument()
    standby = MemLeakInstrumentor()._standby
    assert standby is not None
    thread = standby._ticker.thread
    standby._ticker.wake()
    assert thread is not None
    thread.join(WAIT_S)

    assert threads() == []
    assert standby.swallowed_errors == 1


@pytest.mark.parametrize("uninstrument", [False, True])
def test_on_alert_hears_of_the_alert_and_may_uninstrument(uninstrument: bool) -> None:
    """The callback gets the alert itself, on its own thread, and may switch us off from there."""
    heard: list[LeakAlert] = []
    started, done = threading.Event(), threading.Event()

    def on_alert(alert: LeakAlert) -> None:
        heard.append(alert)
        assert started.wait(WAIT_S)
        if uninstrument:
            MemLeakInstrumentor().uninstrument()
        done.set()

    MemLeakInstrumentor().instrument(**QUICK, rss_warning=1, rss_critical=0, on_alert=on_alert)
    started.set()

    assert done.wait(WAIT_S)
    assert (heard[0].event, heard[0].severity, heard[0].reason) == ("memleak.rss", "warning", "rss")
    assert MemLeakInstrumentor().is_instrumented_by_opentelemetry is not uninstrument


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["python", "-c", "from multiprocessing.forkserver import main; main(3, 4)"], True),
        (["python", "app.py", "from multiprocessing.spawn import main"], False),
    ],
)
def test_multiprocessing_helpers_are_recognised(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], expected: bool
) -> None:
    """The launcher's PYTHONPATH reaches helpers that are no application."""
    monkeypatch.setattr(sys, "orig_argv", argv)

    assert _runs_module("multiprocessing.forkserver") is expected


def test_the_resource_tracker_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no memory worth watching and never forks."""
    argv = ["python", "-c", "from multiprocessing.resource_tracker import main;main(5)"]
    monkeypatch.setattr(sys, "orig_argv", argv)

    MemLeakInstrumentor().instrument()

    assert MemLeakInstrumentor()._standby is None


def test_a_sub_interpreter_without_daemon_threads_is_refused_loudly(
    telemetry: InMemoryTelemetry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line that says what to do instead; no instruments, no thread, and uninstrument() is still fine."""
    monkeypatch.setattr(threading, "_daemon_threads_allowed", lambda: False, raising=False)
    MemLeakInstrumentor().instrument(**telemetry.providers)
    monkeypatch.setattr(threading, "_daemon_threads_allowed", lambda: True)

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "instrument the main interpreter" in record.getMessage()
    assert threads() == []
    assert telemetry.metrics() == {}
    MemLeakInstrumentor().uninstrument()
