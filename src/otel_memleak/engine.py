"""One process watching itself: sample, remember, judge, publish, tell.

The engine joins the layers below it and owns no policy: what a leak is, is the detector's; how an alert
travels, is emission's; when to look, is the ticker's. Both faces of the package, the instrumentor and
`MemoryMonitor`, drive this one class.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

from otel_memleak import forks
from otel_memleak.detector import LeakDetector
from otel_memleak.diagnosis._witnesses import Witnessing
from otel_memleak.guard import Guard, say_quietly
from otel_memleak.history import History
from otel_memleak.last_words import Approach
from otel_memleak.loading import load, undisturbed
from otel_memleak.overhead import Overhead, share_at
from otel_memleak.parts import DIAGNOSER, ON_ALERT
from otel_memleak.probes import (
    BlockCounter,
    Resident,
    count_modules,
    read_tracemalloc_bytes,
)
from otel_memleak.sampler import Sampler, witnesses
from otel_memleak.settings import Settings
from otel_memleak.status import Status
from otel_memleak.surroundings import Surroundings
from otel_memleak.ticker import Ticker
from otel_memleak.types import MB, MonitoringTier

if TYPE_CHECKING:
    from otel_memleak.callbacks import Delivery
    from otel_memleak.clock import Clock
    from otel_memleak.diagnosis.diagnoser import Diagnoser
    from otel_memleak.diagnosis.findings import RouteFindings
    from otel_memleak.emission.alerts import Alerts
    from otel_memleak.emission.metrics import Metrics
    from otel_memleak.epilogue import Epilogue
    from otel_memleak.routes.watch import RouteWatch
    from otel_memleak.state import StateKeeper
    from otel_memleak.tracing import Tracing
    from otel_memleak.types import Diagnosis, LeakAlert, MemoryLimit, Reason, Sample, Severity, State

LIMIT_REFRESH_S: Final = 600.0
"""Limits change under a running container, but seldom, and reading one costs as much as 20 samples."""

HOST_RSS_WARNING_BYTES: Final = 256 * MB
HOST_RSS_CRITICAL_BYTES: Final = 512 * MB


class Engine:
    """Watches this process until stopped.

    Args:
        settings: Validated settings; the tier must not be ``disabled``.
        metrics: Where to publish; None for nowhere.
        alerts: How to tell; None for not at all.
        routes: What to ask for the endpoints that leak; None for nobody.
        delivery: Takes alerts to the user's code; None for nobody.
        surroundings: Clock and probes.
        ticker: Calls `tick`, `peek` and, in a forked child, `start_over`; None for one of its own.
        forked: This process was forked from one that is watched as well.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics | None = None,
        alerts: Alerts | None = None,
        routes: RouteWatch | None = None,
        delivery: Delivery | None = None,
        surroundings: Surroundings | None = None,
        *,
        guard: Guard | None = None,
        ticker: Ticker | None = None,
        forked: bool = False,
    ) -> None:
        self.settings = settings
        self._metrics = metrics
        self._alerts = alerts
        self._routes = routes
        self._delivery = delivery
        self._surroundings = surroundings or Surroundings()
        self._guard = guard or Guard()
        self._diagnoser: Diagnoser | None = None
        self._epilogue: Epilogue | None = None
        self._tracing = _make_tracing(settings.tracemalloc_frames) if settings.tracemalloc == "on" else None
        self._excluded: dict[str, bool] = {}
        clock, interval_s, path = (
            self._surroundings.clock,
            settings.sampling_interval_seconds,
            settings.state_file,
        )
        self._keeper = _make_keeper(path, clock, self._guard, forked) if path is not None else None
        self._ticker = ticker or Ticker(
            interval_s, self.tick, self.start_over, self._guard, peek=self.peek, pause_s=lambda: self.pause_s
        )
        self._begin()

    def _begin(self) -> None:
        """The state of a process that has not been looked at yet."""
        settings = self.settings
        self.history = History(settings.history_size)
        self.status: Status | None = None
        self.alert_counts: Mapping[tuple[Severity, Reason], int] = {}
        self._samples = 0
        self._limit: MemoryLimit | None = None
        self._limit_due_s = float("-inf")
        self._detector: LeakDetector | None = None
        share = share_at(settings.overhead_budget_share, settings.sampling_interval_seconds)
        self._overhead = Overhead(share, settings.sampling_interval_seconds)
        self._postponed: LeakAlert | None = None
        self._approach = Approach(settings.sampling_interval_seconds)
        self._witnessing = Witnessing() if settings.diagnosis else None
        self._sampler = Sampler(
            self._surroundings.clock,
            self._guard,
            self._surroundings.read_rss_bytes,
            tracemalloc_bytes=read_tracemalloc_bytes,
            allocated_blocks=BlockCounter().read,
            asyncio_tasks=_task_counter() if settings.tier is MonitoringTier.DEVELOPMENT else None,
            requests=self._routes.requests if self._routes is not None else None,
            modules=count_modules,
            kinds=self._surroundings.make_kinds() if self._surroundings.make_kinds is not None else None,
        )

    @property
    def running(self) -> bool:
        """Whether the engine has been started and not stopped."""
        return self._ticker.running

    @property
    def pause_s(self) -> float:
        """Seconds until somebody should look again, at the latest."""
        return self._approach.pause_s

    @property
    def swallowed_errors(self) -> int:
        """Failures swallowed in this process."""
        return self._guard.errors

    def start(self) -> None:
        """Start watching; a second start does nothing.

        Where another engine of this process exports through the same provider already, this one only calls
        its callbacks: a process has one set of metrics and says a thing once.
        """
        if self._tracing is not None:
            self._tracing.start()
        if self._metrics is not None and not self._metrics.bind(self):
            self._metrics = self._alerts = self._routes = None
            say_quietly(logging.INFO, "otel_memleak exports from this process already; this watch does not")
        self._follow_providers()
        if self._keeper is not None:
            self._keeper.start(self._export)
        self._ticker.start()

    def stop(self) -> None:
        """Stop watching, within about a second; nothing of it stays referenced by OpenTelemetry."""
        self._ticker.stop()
        if self._epilogue is not None:
            self._epilogue.stop()
        if self._keeper is not None:
            self._keeper.stop()
        if self._diagnoser is not None:
            self._diagnoser.stop()
        if self._metrics is not None:
            self._metrics.unbind()
        if self._alerts is not None:
            self._alerts.close()
        if self._routes is not None:
            self._routes.stop()
        if self._tracing is not None:
            self._tracing.stop()

    def ensure_alive(self) -> None:
        """Notice a fork that ran no Python hook."""
        self._ticker.ensure_alive()

    def excludes(self, metric_name: str) -> bool:
        """Whether the user does not want this metric."""
        known = self._excluded.get(metric_name)
        if known is None:
            patterns = self.settings.excluded_metrics
            known = any(fnmatch.fnmatchcase(metric_name, pattern) for pattern in patterns)
            self._excluded[metric_name] = known
        return known

    def tick(self) -> None:
        """Look once and act on it. Runs on the sampling thread; tests call it with a clock of their own."""
        self._follow_providers()
        sample = self._sampler.take(calm=self.status is not None and self.status.state == "stable")
        self._refresh_limit()
        detector = self._detector or self._make_detector()
        self._restore(detector)
        self._samples += 1
        with undisturbed():  # the first alert, and what leads to it, is put together by modules of its own
            alert = detector.update(sample.time_s, sample.rss_bytes, **witnesses(sample))
            left_s = detector.time_to_limit_s
        if sample.rss_bytes is not None:
            self.history.append(sample.time_s, sample.rss_bytes)
            if self._metrics is not None:
                self._metrics.record(sample.rss_bytes)
            if self._routes is not None:
                self._routes.observe(sample.time_s, detector.retained_bytes)
        state = detector.state
        if self._witnessing is not None:
            self._follow(self._witnessing, sample, self._worth(state))
        self.status = Status(
            sample,
            self._limit,
            state,
            detector.baseline_bytes,
            detector.growth_bytes_per_hour,
            left_s,
            self._samples,
            self._account(),
        )
        # After the status: whoever hears of the alert may ask for it.
        if alert is not None:
            self._tell(alert)
        if sample.rss_bytes is not None:
            self._look_ahead(sample.rss_bytes, self.status)
        if self._keeper is not None:
            self._keeper.after_sample(urgent=alert is not None)

    def peek(self) -> None:
        """Read resident memory alone, between two samples, because the limit is near."""
        if self.status is not None:
            read = self._surroundings.read_rss_bytes()
            rss_bytes = read.rss_bytes if isinstance(read, Resident) else read
            self._look_ahead(rss_bytes, self.status)

    def _look_ahead(self, rss_bytes: int, status: Status) -> None:
        """Prepare last words when the limit is near, say them at it."""
        limit_bytes = status.limit.limit_bytes if status.limit is not None else None
        due = self._approach.look(self._surroundings.clock.monotonic_s(), rss_bytes, limit_bytes)
        if limit_bytes is not None and (due or self._approach.near(rss_bytes, limit_bytes)):
            self._have_epilogue().look(rss_bytes, limit_bytes, status, due=due)

    def _follow(self, witnessing: Witnessing, sample: Sample, state: State) -> None:
        """Keep what a diagnosis needs to know; have one made when there is something to diagnose."""
        if self._diagnoser is not None or state in ("suspect", "leaking"):
            limit_bytes = self._limit.limit_bytes if self._limit is not None else None
            self._have_diagnoser().observe(sample, state, limit_bytes)
        else:
            witnessing.observe(sample, growing=False)
        if self._postponed is not None and self._overhead.allows_diagnosis:
            self._investigate(self._postponed)

    def _restore(self, detector: LeakDetector) -> None:
        found = self._keeper.found() if self._keeper is not None else None
        if found is not None:
            detector.restore_state(found)

    def _export(self) -> dict[str, object] | None:
        return self._detector.export_state() if self._detector is not None else None

    def _account(self) -> float:
        diagnosis_s = self._diagnoser.cpu_time_s if self._diagnoser is not None else 0.0
        now_s = self._surroundings.clock.monotonic_s()
        used_s = self._overhead.account(now_s, self._surroundings.cpu_clock_s(), diagnosis_s)
        self._ticker.pace(self._overhead.interval_s)
        return used_s

    def _worth(self, state: State) -> State:
        """The state as the diagnoser is told it: beyond the budget growth is followed only."""
        return "leaking" if state == "suspect" and not self._overhead.allows_diagnosis else state

    def _have_diagnoser(self) -> Diagnoser:
        if self._diagnoser is None:
            load(DIAGNOSER, _whatever_it_takes)
            from otel_memleak.diagnosis.diagnoser import Diagnoser

            self._diagnoser = Diagnoser(
                self._surroundings.clock,
                self.settings.sampling_interval_seconds,
                self.settings.tracemalloc,
                self._tell_diagnosis,
                self._guard,
                self._find_routes,
                self._witnessing,
            )
        return self._diagnoser

    def _have_epilogue(self) -> Epilogue:
        if self._epilogue is None:
            load(ON_ALERT, _whatever_it_takes)
            from otel_memleak.epilogue import Epilogue

            self._epilogue = Epilogue(
                self._approach, self._surroundings.clock, self._alerts, self._keeper, self._count, self._guard
            )
        return self._epilogue

    def _make_detector(self) -> LeakDetector:
        settings, limit = self.settings, self._limit
        host = limit is None or limit.source == "host"
        self._detector = LeakDetector(
            limit.limit_bytes if limit is not None else None,
            sampling_interval_seconds=settings.sampling_interval_seconds,
            baseline_window_seconds=settings.baseline_window_seconds,
            patience_seconds=settings.patience_seconds,
            growth_warning_bytes_per_hour=_or_auto(settings.growth_warning_bytes_per_hour),
            growth_critical_bytes_per_hour=_or_auto(settings.growth_critical_bytes_per_hour),
            rss_warning_bytes=_threshold(settings.rss_warning_bytes, host, HOST_RSS_WARNING_BYTES),
            rss_critical_bytes=_threshold(settings.rss_critical_bytes, host, HOST_RSS_CRITICAL_BYTES),
            alert_interval_seconds=settings.alert_interval_seconds,
        )
        return self._detector

    def _refresh_limit(self) -> None:
        now_s = self._surroundings.clock.monotonic_s()
        if now_s < self._limit_due_s:
            return
        self._limit_due_s = now_s + LIMIT_REFRESH_S
        try:
            self._limit = self._surroundings.read_limit(self.settings.memory_limit_bytes)
        except Exception as error:
            self._guard.swallow("reading the memory limit", error)
        if self._detector is not None:
            self._detector.limit_bytes = self._limit.limit_bytes if self._limit is not None else None

    def _follow_providers(self) -> None:
        """The SDK may be configured after us, and uWSGI's module appear; cheap when nothing has changed."""
        forks.follow_uwsgi()
        if self._alerts is not None:
            self._alerts.watch_spans()
        if self._routes is not None:
            self._routes.start()

    def _tell(self, alert: LeakAlert) -> None:
        self._count(alert)
        self._have_epilogue().hear(alert)
        try:
            self._send(alert)
        except Exception as error:
            self._guard.swallow("sending an alert", error)
        if self._delivery is not None:
            self._delivery.deliver(alert)
        if alert.event == "memleak.leak":
            self._investigate(alert)
        elif self._postponed is not None and alert.id == self._postponed.id:
            self._postponed = None

    def _investigate(self, alert: LeakAlert) -> None:
        self._postponed = None if self._overhead.allows_diagnosis else alert
        if self.settings.diagnosis and self._postponed is None:
            self._have_diagnoser().investigate(alert)

    def _count(self, alert: LeakAlert) -> None:
        if alert.event != "memleak.resolved":
            key = (alert.severity, alert.reason)
            self.alert_counts = {**self.alert_counts, key: self.alert_counts.get(key, 0) + 1}

    def _send(self, alert: LeakAlert) -> None:
        if self._alerts is None:
            return
        from otel_memleak.emission.notice import Notice

        if self._metrics is not None:
            self._metrics.bind(self, self._alerts.exemplars)
        leak = self._routes if alert.event == "memleak.leak" else None
        routes = leak.suspects() if leak is not None else ()
        related = leak.recent_contexts(routes) if leak is not None else []
        source = self._limit.source if self._limit is not None else None
        now_s = self._surroundings.clock.unix_s()
        known = alert.event == "memleak.leak" and self.settings.diagnosis
        origin = self._have_diagnoser().origin(alert.onset_s) if known else None
        self._alerts.send(Notice.of_alert(alert, source, now_s, routes, origin), related)

    def _tell_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Runs on the thread of the investigation."""
        self._have_epilogue().hear_diagnosis(diagnosis)
        if self._alerts is None:
            return
        from otel_memleak.emission.notice import Notice

        related = self._routes.recent_contexts(diagnosis.routes) if self._routes is not None else []
        self._alerts.send(Notice.of_diagnosis(diagnosis, self._surroundings.clock.unix_s()), related)

    def _find_routes(self) -> RouteFindings:
        from otel_memleak.diagnosis.findings import RouteFindings

        if self._routes is None:
            return RouteFindings()
        return RouteFindings(self._routes.suspects(), self._routes.in_background)

    def start_over(self) -> None:
        """In a forked child: its memory is mostly the parent's, but its history is not."""
        self._guard.errors = 0
        if self._metrics is not None:
            self._metrics.after_fork_in_child()  # first: the reader's new thread must not meet the old locks
        self._begin()
        self._epilogue = None
        if self._keeper is not None:
            self._keeper.forget(self._export)
        if self._alerts is not None:
            self._alerts.after_fork_in_child()
        if self._delivery is not None:
            self._delivery.forget()
        if self._diagnoser is not None:
            self._diagnoser.forget()
        if self._routes is not None:
            self._routes.forget()


def _whatever_it_takes() -> bool:
    return True


def _task_counter() -> Callable[[], int | None]:
    from otel_memleak.probes import count_asyncio_tasks

    return count_asyncio_tasks


def _make_tracing(frames: int) -> Tracing:
    from otel_memleak.tracing import Tracing

    return Tracing(frames)


def _make_keeper(path: str, clock: Clock, guard: Guard, forked: bool) -> StateKeeper:
    from otel_memleak.state import StateKeeper

    import_module("otel_memleak.detector._heritage")  # and not later, on its thread or ours
    return StateKeeper(path, clock, guard, forked=forked)


def _or_auto(configured: float | None) -> float | Literal["auto"]:
    """The detector's notion of a rate: a number, or ``auto``."""
    return "auto" if configured is None else configured


def _threshold(configured_bytes: float | None, host: bool, host_bytes: float) -> float | Literal["auto"]:
    """The detector's notion of an RSS threshold: a number, or ``auto`` for a share of the limit."""
    if configured_bytes is not None:
        return configured_bytes
    return host_bytes if host else "auto"
