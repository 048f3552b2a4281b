"""The asyncio face: lifecycle, callbacks, statistics."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from otel import InMemoryTelemetry
from otel_memleak import LeakAlert, MemLeakInstrumentor, MemoryMonitor, MonitoringTier
from otel_memleak import guard as guard_module
from otel_memleak.aio import MemoryStatistics
from otel_memleak.ticker import THREAD_NAME
from otel_memleak.types import MB

WAIT_S = 10.0
T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(coroutine, WAIT_S)

    return asyncio.run(bounded())


def alarmed(**more: Any) -> MemoryMonitor:
    """A monitor whose process is above its threshold from the first sample."""
    return MemoryMonitor(
        sampling_interval=0.01, baseline_window=0.1, patience=0.4, rss_warning_mb=1, rss_critical_mb=0, **more
    )


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


async def until(monitor: MemoryMonitor, samples: int) -> None:
    while monitor.get_statistics()["samples_taken"] < samples:
        await asyncio.sleep(0.005)


def test_start_stop_lifecycle() -> None:
    """Not running, running, not running; a thread and a task exist exactly in between."""

    async def body() -> None:
        monitor = MemoryMonitor()
        assert (monitor._running, monitor._task, threads()) == (False, None, [])

        await monitor.start()
        assert monitor._running
        assert monitor._task is not None
        assert len(threads()) == 1

        await monitor.stop()
        assert (monitor._running, monitor._task, threads()) == (False, None, [])

    run(body())


def test_a_double_start_raises() -> None:
    """Two owners of one monitor would stop each other's watch."""

    async def body() -> None:
        monitor = MemoryMonitor()
        await monitor.start()
        with pytest.raises(RuntimeError, match="already running"):
            await monitor.start()
        await monitor.stop()

    run(body())


def test_stop_without_start_is_a_no_op() -> None:
    """Clean-up code need not know how far start-up got; and a second stop is as harmless."""

    async def body() -> None:
        monitor = MemoryMonitor()
        await monitor.stop()
        await monitor.start()
        await monitor.stop()
        await monitor.stop()

    run(body())


def test_it_can_be_started_again() -> None:
    """A stopped monitor is as good as new."""

    async def body() -> None:
        monitor = MemoryMonitor(sampling_interval=0.01)
        for _ in range(3):
            await monitor.start()
            await until(monitor, 2)
            await monitor.stop()

    run(body())


def test_cancellation_is_graceful() -> None:
    """A cancelled application stops the watch on its way out, without a stray exception or thread."""

    async def application() -> None:
        async with MemoryMonitor():
            await asyncio.Event().wait()

    async def body() -> None:
        task = asyncio.create_task(application())
        while not threads():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(body())
    assert threads() == []


def test_the_disabled_tier_is_a_logged_no_op(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing runs, and the log says why."""

    async def body() -> None:
        monitor = MemoryMonitor(tier=MonitoringTier.DISABLED)
        with caplog.at_level(logging.INFO, "otel_memleak"):
            await monitor.start()
        assert not monitor.running
        assert threads() == []
        assert monitor.get_statistics()["samples_taken"] == 0
        await monitor.stop()

    run(body())
    assert "disabled" in caplog.text


def test_a_blocked_loop_does_not_stop_the_sampling() -> None:
    """The moment the loop is blocked is the moment somebody should be looking."""

    async def body() -> None:
        monitor = MemoryMonitor(sampling_interval=0.01)
        await monitor.start()
        pause = threading.Event()
        for _ in range(1000):  # blocks the loop, on purpose
            if monitor.get_statistics()["samples_taken"] >= 5:
                break
            pause.wait(0.01)
        assert monitor.get_statistics()["samples_taken"] >= 5
        await monitor.stop()

    run(body())


def test_callbacks_run_in_the_loop_whether_sync_or_async() -> None:
    """Application code may touch loop-bound objects from on_alert."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[tuple[str, LeakAlert]] = asyncio.Queue()

        def plain(alert: LeakAlert) -> None:
            assert asyncio.get_running_loop() is loop
            heard.put_nowait(("plain", alert))

        async def coroutine(alert: LeakAlert) -> None:
            await asyncio.sleep(0)
            heard.put_nowait(("coroutine", alert))

        monitor = alarmed(on_alert=plain)
        monitor.add_alert_callback(coroutine)
        await monitor.start()
        first, second = await heard.get(), await heard.get()
        await monitor.stop()

        assert [first[0], second[0]] == ["plain", "coroutine"]
        assert first[1] is second[1]
        assert (first[1].event, first[1].reason) == ("memleak.rss", "rss")

    run(body())


def test_a_callback_that_raises_is_counted_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pager integration does not end the watch."""
    monkeypatch.setattr(guard_module, "reraise", False)

    async def body() -> None:
        called = asyncio.Event()

        def broken(alert: LeakAlert) -> None:
            called.set()
            raise ValueError("pager")

        monitor = alarmed(on_alert=broken)
        await monitor.start()
        await called.wait()
        await asyncio.sleep(0)
        assert monitor.running
        assert monitor.get_statistics()["errors_swallowed"] == 1
        await until(monitor, monitor.get_statistics()["samples_taken"] + 2)
        await monitor.stop()

    run(body())


def test_statistics_are_complete_before_during_and_after() -> None:
    """A documented, typed mapping: every key at every time, values of the documented types."""

    async def body() -> None:
        monitor = alarmed(memory_limit_mb=4096)
        before = monitor.get_statistics()
        await monitor.start()
        await until(monitor, 20)
        during = monitor.get_statistics()
        await monitor.stop()
        after = monitor.get_statistics()

        for statistics in (before, during, after):
            assert set(statistics) == set(MemoryStatistics.__annotations__)
        assert (before["running"], during["running"], after["running"]) == (False, True, False)
        assert before["rss_bytes"] is None
        assert during["tier"] == "production"
        assert isinstance(during["rss_bytes"], int)
        assert during["rss_bytes"] > MB
        assert during["limit_bytes"] == 4096 * MB
        assert during["baseline_bytes"] is not None
        assert during["alerts_sent"] == 1
        assert after["samples_taken"] >= during["samples_taken"]

    run(body())


def test_alerts_go_out_over_opentelemetry_too(telemetry: InMemoryTelemetry) -> None:
    """The asyncio face is a face of the same engine: gauges, log record and span event."""

    async def body() -> None:
        heard = asyncio.Event()

        async def on_alert(alert: LeakAlert) -> None:
            heard.set()

        monitor = alarmed(on_alert=on_alert, **telemetry.providers)
        await monitor.start()
        await heard.wait()
        assert "memleak.process.rss" in telemetry.metrics()
        await monitor.stop()

    run(body())
    assert [r.log_record.event_name for r in telemetry.logs()] == ["memleak.rss"]
    assert [span.name for span in telemetry.spans()] == ["memleak.rss"]


def test_beside_the_instrumentor_it_only_calls_its_callbacks(telemetry: InMemoryTelemetry) -> None:
    """A program under the launcher that has a monitor of its own says everything once."""

    async def body() -> None:
        heard = asyncio.Event()

        async def on_alert(alert: LeakAlert) -> None:
            heard.set()

        MemLeakInstrumentor().instrument(rss_warning=0, rss_critical=0, **telemetry.providers)
        monitor = alarmed(on_alert=on_alert, **telemetry.providers)
        await monitor.start()
        await heard.wait()
        await until(monitor, 5)
        await monitor.stop()
        standby = MemLeakInstrumentor()._standby
        assert standby is not None
        standby._ticker.wake()
        while standby.engine is None or standby.engine.status is None:
            await asyncio.sleep(0.01)
        assert len(telemetry.metrics()["memleak.process.rss"]) == 1

    run(body())
    assert telemetry.logs() == ()
    assert telemetry.spans() == ()
    assert "memleak.process.rss" in telemetry.metrics()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"sampling_interval": 0}, "sampling_interval"),
        ({"sampling_interval": float("nan")}, "sampling_interval"),
        ({"baseline_window": "long"}, "baseline_window"),
        ({"leak_detection_threshold_mb_per_hour": -1}, "growth_warning"),
        ({"history_size": 1.5}, "history_size"),
        ({"tier": "prod"}, "tier"),
        ({"on_alert": [1]}, "on_alert"),
    ],
)
def test_a_bad_argument_is_a_value_error(arguments: dict[str, Any], name: str) -> None:
    """Loud at construction, naming what is wrong."""
    with pytest.raises(ValueError, match=name):
        MemoryMonitor(**arguments)


def test_the_arguments_are_seconds_and_megabytes_per_hour() -> None:
    """The report's own configurations mean what they say."""
    monitor = MemoryMonitor(
        tier=MonitoringTier.DEVELOPMENT, sampling_interval=10, baseline_window=60.5,
        leak_detection_threshold_mb_per_hour=10.0, leak_detection_critical_mb_per_hour=100.0,
    )  # fmt: skip

    assert monitor.settings.sampling_interval_seconds == 10
    assert monitor.settings.baseline_window_seconds == 60.5
    assert monitor.settings.growth_warning_bytes_per_hour == 10 * MB
    assert monitor.settings.growth_critical_bytes_per_hour == 100 * MB
    assert MemoryMonitor().settings.sampling_interval_seconds == 60
    assert MemoryMonitor().settings.baseline_window_seconds == 300


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_does_not_wake_the_parents_loop() -> None:
    """The loop's wake-up pipe is shared with the parent: a child that writes to it disturbs the parent."""

    async def body() -> int:
        monitor = alarmed()
        await monitor.start()
        await until(monitor, 1)
        pid = os.fork()
        if pid == 0:
            engine = monitor._engine
            delivery = engine._responder._delivery if engine is not None else None
            os._exit(0 if delivery is not None and not delivery._alive else 1)  # type: ignore[attr-defined]
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        await monitor.stop()
        return code

    assert run(body()) == 0
