"""The asyncio face of the engine."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypedDict

from otel_memleak.guard import Guard, say_quietly
from otel_memleak.settings import Settings, resolve
from otel_memleak.types import MB, LeakAlert, MonitoringTier, State

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from otel_memleak.callbacks import AlertCallback
    from otel_memleak.engine import Engine

_WAITING_AT_MOST: Final = 64


class MemoryStatistics(TypedDict):
    """What a monitor knows, as plain values; None where there is nothing to tell yet.

    Byte quantities carry ``_bytes``, rates ``_mb_per_hour``, times ``_seconds``.
    """

    tier: str
    running: bool
    state: State | None
    samples_taken: int
    samples_kept: int
    rss_bytes: int | None
    rss_min_bytes: int | None
    rss_max_bytes: int | None
    baseline_bytes: float | None
    limit_bytes: int | None
    growth_rate_mb_per_hour: float
    time_to_limit_seconds: float | None
    tracemalloc_current_bytes: int | None
    tracemalloc_peak_bytes: int | None
    allocated_blocks: int | None
    asyncio_tasks: int | None
    alerts_sent: int
    cpu_time_seconds: float
    errors_swallowed: int


class MemoryMonitor:
    """Watches the memory of this process for as long as an asyncio program wants it to.

    Samples are taken on a thread, so a blocked event loop is seen rather than suffered; callbacks run in
    the loop that called `start`. Gauges and alerts also go out through OpenTelemetry when it is configured.

    Guards against CWE-401 (memory never released), CWE-772 (resources never given back) and CWE-400
    (exhaustion).

    Args:
        tier: How closely to look. ``DISABLED`` makes `start` a logged no-op.
        sampling_interval: Seconds between samples; None for the tier's default (60; development 10).
        baseline_window: Seconds whose samples make the baseline; None for the tier's default (300; 60).
        leak_detection_threshold_mb_per_hour: Growth that matters by itself; None for the tier's default
            (50; 10).
        leak_detection_critical_mb_per_hour: Growth that is critical; None for the default (100).
        patience: Seconds growth is watched before it is called a leak; None for the tier's default
            (adapted to the time left; 300).
        rss_warning_mb: Resident memory that warns; 0 for never; None derives it from the limit.
        rss_critical_mb: Resident memory that is critical; 0 for never; None derives it from the limit.
        memory_limit_mb: The limit; None finds it out from cgroup and rlimit.
        alert_interval: Seconds in which at most one alert of a kind and severity is sent.
        history_size: Samples kept at full resolution.
        on_alert: A function or coroutine function taking a `LeakAlert`, or several of them. One that
            raises is counted, not fatal.
        tracer_provider: None for the global one.
        meter_provider: None for the global one.
        logger_provider: None for the global one.

    Raises:
        ValueError: A value is out of range; the message names the setting.
    """

    def __init__(
        self,
        tier: MonitoringTier = MonitoringTier.PRODUCTION,
        sampling_interval: float | None = None,
        baseline_window: float | None = None,
        leak_detection_threshold_mb_per_hour: float | None = None,
        leak_detection_critical_mb_per_hour: float | None = None,
        *,
        patience: float | None = None,
        rss_warning_mb: float | None = None,
        rss_critical_mb: float | None = None,
        memory_limit_mb: float | None = None,
        alert_interval: float | None = None,
        history_size: int | None = None,
        on_alert: AlertCallback | Iterable[AlertCallback] = (),
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        given = {
            "sampling_interval": _ms("sampling_interval", sampling_interval),
            "baseline_window": _ms("baseline_window", baseline_window),
            "patience": _ms("patience", patience),
            "alert_interval": _ms("alert_interval", alert_interval),
            "growth_warning": leak_detection_threshold_mb_per_hour,
            "growth_critical": leak_detection_critical_mb_per_hour,
            "rss_warning": rss_warning_mb,
            "rss_critical": rss_critical_mb,
            "memory_limit": memory_limit_mb,
            "history_size": history_size,
        }
        self._settings = resolve({"tier": tier} | {k: v for k, v in given.items() if v is not None})
        self._guard = Guard()
        self._callbacks = _as_callbacks(on_alert)
        self._providers = (tracer_provider, meter_provider, logger_provider)
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._running = False

    @property
    def settings(self) -> Settings:
        """The settings in force, in the units of their names."""
        return self._settings

    @property
    def running(self) -> bool:
        """Whether the process is being watched."""
        return self._running

    def add_alert_callback(self, callback: AlertCallback) -> None:
        """Have one more function or coroutine function called with every `LeakAlert`.

        Raises:
            ValueError: It is not callable.
        """
        self._callbacks = (*self._callbacks, *_as_callbacks(callback))

    async def start(self) -> None:
        """Start watching.

        Raises:
            RuntimeError: It is running already.
        """
        if self._running:
            raise RuntimeError("MemoryMonitor is already running")
        if self._settings.tier is MonitoringTier.DISABLED:
            say_quietly(logging.INFO, "MemoryMonitor is disabled: this process is not watched")
            return
        from otel_memleak.emission import Alerts, Metrics
        from otel_memleak.engine import Engine
        from otel_memleak.routes.watch import RouteWatch

        tracer_provider, meter_provider, logger_provider = self._providers
        delivery = _LoopDelivery(asyncio.get_running_loop(), self._guard)
        self._engine = Engine(
            self._settings,
            Metrics(meter_provider),
            Alerts(self._settings.alert_targets, tracer_provider, logger_provider),
            RouteWatch(tracer_provider, self._settings.sampling_interval_seconds, self._guard)
            if self._settings.diagnosis
            else None,
            delivery,
            guard=self._guard,
        )
        self._running = True
        self._task = asyncio.create_task(self._call_callbacks(delivery), name="otel-memleak-callbacks")
        self._engine.start()

    async def stop(self) -> None:
        """Stop watching; without a start before it, nothing happens. What was known stays readable."""
        if not self._running:
            return
        self._running = False
        task, self._task = self._task, None
        if self._engine is not None:
            # Joining the thread may take a moment (a callback, a slow disk): not on the loop.
            await asyncio.get_running_loop().run_in_executor(None, self._engine.stop)
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def __aenter__(self) -> MemoryMonitor:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def get_statistics(self) -> MemoryStatistics:
        """What is known now; every key is always there. Callable from any thread, also after `stop`."""
        engine = self._engine
        status = engine.status if engine is not None else None
        sample = status.sample if status is not None else None
        kept = [rss_bytes for _, rss_bytes in engine.history] if engine is not None else []
        return MemoryStatistics(
            tier=self._settings.tier.value,
            running=self._running,
            state=status.state if status is not None else None,
            samples_taken=status.samples if status is not None else 0,
            samples_kept=len(kept),
            rss_bytes=sample.rss_bytes if sample is not None else None,
            rss_min_bytes=min(kept, default=None),
            rss_max_bytes=max(kept, default=None),
            baseline_bytes=status.baseline_bytes if status is not None else None,
            limit_bytes=status.limit.limit_bytes if status is not None and status.limit is not None else None,
            growth_rate_mb_per_hour=status.growth_bytes_per_hour / MB if status is not None else 0.0,
            time_to_limit_seconds=status.time_to_limit_s if status is not None else None,
            tracemalloc_current_bytes=sample.tracemalloc_current_bytes if sample is not None else None,
            tracemalloc_peak_bytes=sample.tracemalloc_peak_bytes if sample is not None else None,
            allocated_blocks=sample.allocated_blocks if sample is not None else None,
            asyncio_tasks=sample.asyncio_tasks if sample is not None else None,
            alerts_sent=sum(engine.alert_counts.values()) if engine is not None else 0,
            cpu_time_seconds=status.cpu_time_s if status is not None else 0.0,
            errors_swallowed=self._guard.errors,
        )

    async def _call_callbacks(self, delivery: _LoopDelivery) -> None:
        while True:
            alert = await delivery.next()
            for callback in self._callbacks:
                try:
                    result = callback(alert)
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:
                    self._guard.swallow("calling on_alert", error)


class _LoopDelivery:
    """Takes alerts from the sampling thread into an event loop; keeps the last 64 if the loop is blocked."""

    def __init__(self, loop: asyncio.AbstractEventLoop, guard: Guard) -> None:
        self._loop = loop
        self._guard = guard
        self._alive = True
        self._waiting: deque[LeakAlert] = deque(maxlen=_WAITING_AT_MOST)
        self._arrived = asyncio.Event()

    def deliver(self, alert: LeakAlert) -> None:
        if not self._alive:
            return
        self._waiting.append(alert)
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError as error:  # the loop was closed under us
            self._alive = False
            self._guard.swallow("reaching the event loop", error)

    def forget(self) -> None:
        """The loop is the parent's: waking it would write into a pipe shared with the parent."""
        self._alive = False
        self._waiting.clear()

    async def next(self) -> LeakAlert:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


def _ms(name: str, seconds: Any) -> Any:
    """Milliseconds as the settings have them; what is no number is left for them to refuse."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return seconds
    milliseconds = seconds * 1000
    if milliseconds != milliseconds or abs(milliseconds) == float("inf"):
        raise ValueError(f"{name}={seconds!r}: must be finite")
    return round(milliseconds)


def _as_callbacks(value: AlertCallback | Iterable[AlertCallback]) -> tuple[AlertCallback, ...]:
    callbacks = (value,) if callable(value) else tuple(value)
    for callback in callbacks:
        if not callable(callback):
            raise ValueError(f"on_alert={callback!r}: must be callable")
    return callbacks
