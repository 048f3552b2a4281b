"""What a process gets at once, and the thread that fetches the rest a moment later.

Loading everything takes longer than many a process takes to start, and none of it is needed in the first
seconds. At once there is what cannot wait: the hooks for forks and for the end, the gauges, and the memory of
open spans, so that one that is as old as the process can be marked later. A process that ends before the
engine has been loaded never loads it; one that forks before is watched in the child as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from otel_memleak.emission import inflight
from otel_memleak.emission.metrics import Metrics
from otel_memleak.guard import Guard
from otel_memleak.loading import load, undisturbed
from otel_memleak.records import NamedTuple
from otel_memleak.settings import Settings
from otel_memleak.ticker import Ticker

if TYPE_CHECKING:
    from otel_memleak.callbacks import AlertCallback
    from otel_memleak.engine import Engine
    from otel_memleak.vocabulary import Reason, Severity

DELAY_S: Final = 5.0
"""After which the engine is loaded; after a sampling interval if that is shorter. One second was too short:
the launcher of a busy machine was still loading other instrumentations."""

HURRY_S: Final = 1.0
"""Who samples more often than that wants an answer at once and not an easy start: everything is loaded before
the program begins, so that a short one is watched as well, and nothing of ours looks like its growth."""


class Providers(NamedTuple):
    """OpenTelemetry's providers; None for the global one, now or as soon as it is set."""

    tracer_provider: Any = None
    meter_provider: Any = None
    logger_provider: Any = None


class Standby:
    """Watches this process with an engine that is loaded by the thread it runs on.

    To metric callbacks it is a process of which nothing is known yet.

    Args:
        settings: Validated settings; the tier must not be ``disabled``.
        providers: Of OpenTelemetry.
        on_alert: The user's callback; None for nobody.
        guard: Told of failures.
        dormant: Watch only processes forked from this one.
    """

    def __init__(
        self,
        settings: Settings,
        providers: Providers,
        on_alert: AlertCallback | None,
        guard: Guard,
        *,
        dormant: bool = False,
    ) -> None:
        self.settings = settings
        self._providers = providers
        self._on_alert = on_alert
        self._guard = guard
        self._dormant = dormant
        self._forked = False
        self._closed = False
        self._engine: Engine | None = None
        self._open_spans: inflight.InflightSpans | None = None
        self._metrics = Metrics(providers.meter_provider)
        interval_s = settings.sampling_interval_seconds
        self._ticker = Ticker(
            interval_s, self._tick, self._start_over, guard,
            dormant=dormant, peek=self._peek, pause_s=self._pause_s, delay_s=min(DELAY_S, interval_s),
        )  # fmt: skip

    @property
    def engine(self) -> Engine | None:
        """The engine, once it is there."""
        return self._engine

    @property
    def status(self) -> None:
        """Nothing is known."""
        return None

    @property
    def alert_counts(self) -> Mapping[tuple[Severity, Reason], int]:
        """Nothing was sent."""
        return {}

    @property
    def swallowed_errors(self) -> int:
        """Failures swallowed in this process."""
        return self._guard.errors

    def excludes(self, metric_name: str) -> bool:
        """There is nothing to export."""
        return True

    def ensure_alive(self) -> None:
        """Metrics are being collected: at the next collection there shall be some."""
        self._ticker.ensure_alive()
        self._ticker.wake()

    def start(self) -> None:
        """Be ready, and have the engine loaded soon; at once where later would be too late."""
        if self._metrics.bind(self) and "span_event" in self.settings.alert_targets:
            self._open_spans = inflight.attach(self._providers.tracer_provider)
            if self._open_spans is not None:
                self._open_spans.enabled = True
        if not self._dormant:
            self._load_what_cannot_wait()
        self._ticker.start()
        if self._engine is not None:
            self._ticker.wake()  # there is nothing to wait for, and the program may be short

    def _load_what_cannot_wait(self) -> None:
        hurry = self.settings.sampling_interval_seconds < HURRY_S
        if hurry or self.settings.tracemalloc == "on" or _forks_in_c():
            self.load()
        if hurry:
            from otel_memleak.parts import DIAGNOSER, INVESTIGATION, ON_ALERT

            wanted = ON_ALERT + DIAGNOSER + INVESTIGATION if self.settings.diagnosis else ON_ALERT
            with suppress(ImportError):  # it is said where it is missed
                load(wanted, lambda: True)

    def close(self) -> None:
        """Stop watching, within about a second; nothing of it stays referenced by OpenTelemetry."""
        self._ticker.stop()
        with undisturbed():
            self._closed = True
        if self._engine is not None:
            self._engine.stop()
        if self._open_spans is not None:
            self._open_spans.enabled = False
        self._metrics.unbind()

    def load(self, go_on: Callable[[], bool] | None = None) -> Engine | None:
        """Have the engine, now.

        Args:
            go_on: Asked again and again whether it is still wanted; None to load it in one go.

        Returns:
            The engine; None when it is not wanted any more.
        """
        if go_on is not None:
            from otel_memleak.parts import PARTS

            if not load(PARTS, go_on):
                return None
        with undisturbed():
            if self._engine is None and not self._closed:
                engine = self._make_engine()
                engine.start()
                self._engine = engine
            return self._engine

    def _tick(self) -> None:
        engine = self._engine or self._try_to_load()
        if engine is not None:
            engine.tick()

    def _try_to_load(self) -> Engine | None:
        try:
            return self.load(lambda: self._ticker.running)
        except Exception as error:
            self._ticker.stop()
            self._guard.swallow("starting", error)
            return None

    def _make_engine(self) -> Engine:
        from otel_memleak.emission import Alerts
        from otel_memleak.engine import Engine
        from otel_memleak.routes.watch import RouteWatch

        settings, (tracer_provider, _, logger_provider) = self.settings, self._providers
        delivery = None
        if self._on_alert is not None:
            from otel_memleak.callbacks import CallbackThread

            delivery = CallbackThread((self._on_alert,), self._guard)
        return Engine(
            settings,
            self._metrics,
            Alerts(settings.alert_targets, tracer_provider, logger_provider),
            RouteWatch(tracer_provider, settings.sampling_interval_seconds, self._guard)
            if settings.diagnosis
            else None,
            delivery,
            guard=self._guard,
            ticker=self._ticker,
            forked=self._forked,
        )

    def _peek(self) -> None:
        if self._engine is not None:
            self._engine.peek()

    def _pause_s(self) -> float:
        return self._engine.pause_s if self._engine is not None else float("inf")

    def _start_over(self) -> None:
        """In a forked child. Whatever was loaded is there; where that is all, nothing is waited for."""
        self._forked = True
        if self._engine is not None:
            self._engine.start_over()
            self._ticker.wake()
            return
        self._guard.errors = 0
        self._metrics.after_fork_in_child()  # first: the reader's new thread must not meet the old locks
        if self._open_spans is not None:
            self._open_spans.enabled = True


def _forks_in_c() -> bool:
    """Whether this is uWSGI, whose forks do not wait for a module that is being imported."""
    names = [sys.executable or "", *sys.orig_argv[:2]]
    with suppress(OSError):
        names.append(os.readlink("/proc/self/exe"))
    return "uwsgi" in sys.modules or any("uwsgi" in os.path.basename(name).lower() for name in names)
