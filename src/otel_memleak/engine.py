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
from typing import TYPE_CHECKING, Final

from otel_memleak import forks
from otel_memleak.guard import Guard, say_quietly
from otel_memleak.history import History
from otel_memleak.loading import undisturbed
from otel_memleak.overhead import Overhead, share_at
from otel_memleak.probes import BlockCounter, count_modules, read_tracemalloc_bytes
from otel_memleak.responder import Responder
from otel_memleak.sampler import Sampler, witnesses
from otel_memleak.settings import Settings
from otel_memleak.status import Status
from otel_memleak.surroundings import Surroundings
from otel_memleak.ticker import Ticker
from otel_memleak.tuning import make_detector
from otel_memleak.types import MonitoringTier

if TYPE_CHECKING:
    from otel_memleak.callbacks import Delivery
    from otel_memleak.clock import Clock
    from otel_memleak.detector import LeakDetector
    from otel_memleak.emission.alerts import Alerts
    from otel_memleak.emission.exemplars import Exemplars
    from otel_memleak.emission.metrics import Metrics
    from otel_memleak.routes.watch import RouteWatch
    from otel_memleak.state import StateKeeper
    from otel_memleak.tracing import Tracing
    from otel_memleak.types import MemoryLimit, Reason, Severity

LIMIT_REFRESH_S: Final = 600.0
"""Limits change under a running container, but seldom, and reading one costs as much as 20 samples."""


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
        self._surroundings = surroundings or Surroundings()
        self._guard = guard or Guard()
        self._tracing = _make_tracing(settings.tracemalloc_frames) if settings.tracemalloc == "on" else None
        self._excluded: dict[str, bool] = {}
        clock, interval_s, path = (
            self._surroundings.clock,
            settings.sampling_interval_seconds,
            settings.state_file,
        )
        self._keeper = _make_keeper(path, clock, self._guard, forked) if path is not None else None
        self._responder = Responder(
            settings, self._surroundings, self._guard, lambda: self._overhead.allows_diagnosis,
            alerts=alerts, routes=routes, delivery=delivery, keeper=self._keeper, lead_to=self._lead_to,
        )  # fmt: skip
        self._ticker = ticker or Ticker(
            interval_s, self.tick, self.start_over, self._guard, peek=self.peek, pause_s=lambda: self.pause_s
        )
        self._begin()

    def _begin(self) -> None:
        """The state of a process that has not been looked at yet."""
        settings = self.settings
        self.history = History(settings.history_size)
        self.status: Status | None = None
        self._samples = 0
        self._limit: MemoryLimit | None = None
        self._limit_due_s = float("-inf")
        self._detector: LeakDetector | None = None
        share = share_at(settings.overhead_budget_share, settings.sampling_interval_seconds)
        self._overhead = Overhead(share, settings.sampling_interval_seconds)
        routes = self._responder.routes
        self._sampler = Sampler(
            self._surroundings.clock,
            self._guard,
            self._surroundings.read_rss_bytes,
            tracemalloc_bytes=read_tracemalloc_bytes,
            allocated_blocks=BlockCounter().read,
            asyncio_tasks=_task_counter() if settings.tier is MonitoringTier.DEVELOPMENT else None,
            requests=routes.requests if routes is not None else None,
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
        return self._responder.pause_s

    @property
    def alert_counts(self) -> Mapping[tuple[Severity, Reason], int]:
        """Alerts told in this process, by severity and reason."""
        return self._responder.alert_counts

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
            self._metrics = self._responder.alerts = self._responder.routes = None
            say_quietly(logging.INFO, "otel_memleak exports from this process already; this watch does not")
        self._follow_providers()
        if self._keeper is not None:
            self._keeper.start(self._export)
        self._ticker.start()

    def stop(self) -> None:
        """Stop watching, within about a second; nothing of it stays referenced by OpenTelemetry."""
        self._ticker.stop()
        if self._keeper is not None:
            self._keeper.stop()
        self._responder.stop()
        if self._metrics is not None:
            self._metrics.unbind()
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
        if self._detector is None:
            self._detector = make_detector(self.settings, self._limit)
        detector = self._detector
        self._restore(detector)
        self._samples += 1
        with undisturbed():  # the first alert, and what leads to it, is put together by modules of its own
            alert = detector.update(sample.time_s, sample.rss_bytes, **witnesses(sample))
            left_s = detector.time_to_limit_s
        if sample.rss_bytes is not None:
            self.history.append(sample.time_s, sample.rss_bytes)
            if self._metrics is not None:
                self._metrics.record(sample.rss_bytes)
            if self._responder.routes is not None:
                self._responder.routes.observe(sample.time_s, detector.retained_bytes)
        state = detector.state
        self._responder.follow(sample, state, self._limit)
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
            self._responder.tell(alert)
        if sample.rss_bytes is not None:
            self._responder.look_ahead(sample.rss_bytes, self.status)
        if self._keeper is not None:
            self._keeper.after_sample(urgent=alert is not None)

    def peek(self) -> None:
        """Read resident memory alone, between two samples, because the limit is near."""
        if self.status is not None:
            self._responder.peek(self.status)

    def _restore(self, detector: LeakDetector) -> None:
        found = self._keeper.found() if self._keeper is not None else None
        if found is not None:
            detector.restore_state(found)

    def _export(self) -> dict[str, object] | None:
        return self._detector.export_state() if self._detector is not None else None

    def _account(self) -> float:
        now_s, diagnosis_s = self._surroundings.clock.monotonic_s(), self._responder.diagnosis_cpu_time_s
        used_s = self._overhead.account(now_s, self._surroundings.cpu_clock_s(), diagnosis_s)
        self._ticker.pace(self._overhead.interval_s)
        return used_s

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
        self._responder.follow_providers()

    def _lead_to(self, exemplars: Exemplars) -> None:
        if self._metrics is not None:
            self._metrics.bind(self, exemplars)

    def start_over(self) -> None:
        """In a forked child: its memory is mostly the parent's, but its history is not."""
        self._guard.errors = 0
        if self._metrics is not None:
            self._metrics.after_fork_in_child()  # first: the reader's new thread must not meet the old locks
        self._begin()
        if self._keeper is not None:
            self._keeper.forget(self._export)
        self._responder.forget()


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
