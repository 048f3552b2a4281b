"""Keeps the readings that a diagnosis needs, and has a leak looked into.

Everything that takes time happens on a thread that exists only while a leak is looked into. The sampling
thread pays for a reading of the witnesses: at every sample while growth is suspected, else at every tenth;
those that were taken before there was anything to diagnose are handed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from otel_memleak import forks
from otel_memleak.diagnosis._witnesses import Witnessing
from otel_memleak.diagnosis.findings import RouteFindings
from otel_memleak.guard import Guard
from otel_memleak.threads import Signal, Worker, new_lock

if TYPE_CHECKING:
    from otel_memleak.clock import Clock
    from otel_memleak.diagnosis._resource_reading import ResourceReader
    from otel_memleak.diagnosis.case import Case, Tracers
    from otel_memleak.diagnosis.census import Census
    from otel_memleak.diagnosis.investigation import Investigation
    from otel_memleak.diagnosis.origin import Witness
    from otel_memleak.diagnosis.resources import ResourceReading, ResourceSeries
    from otel_memleak.settings import TracemallocMode
    from otel_memleak.types import Diagnosis, LeakAlert, Origin, Sample, State

THREAD_NAME: Final = "OtelMemleakDiagnosis"
STOP_TIMEOUT_S: Final = 1.0
_ENOUGH_READINGS: Final = 24
_BETWEEN_SUSPICIONS: Final = 60.0
"""Sampling intervals between two looks for a mere suspicion."""


class Diagnoser:
    """Looks into leaks of this process.

    Args:
        clock: The sample clock.
        sampling_interval_s: Seconds between samples.
        tracemalloc: ``diagnosis`` allows short windows of tracing; with ``on`` the running trace is used.
        deliver: Called with every diagnosis, on the thread of the investigation.
        guard: Told of failures.
        routes: Says what is known of the endpoints.
        witnessing: Readings so far; None for none.
    """

    def __init__(
        self,
        clock: Clock,
        sampling_interval_s: float,
        tracemalloc: TracemallocMode,
        deliver: Callable[[Diagnosis], None],
        guard: Guard,
        routes: Callable[[], RouteFindings] = RouteFindings,
        witnessing: Witnessing | None = None,
    ) -> None:
        self._clock = clock
        self._interval_s = sampling_interval_s
        self._tracemalloc = tracemalloc
        self._deliver = deliver
        self._guard = guard
        self._routes = routes
        self._tracers: Tracers | None = None
        self._is_loaded = False
        self._begin(witnessing or Witnessing())

    def forget(self) -> None:
        """Start over, as in a forked child; what the parent was looking into is the parent's."""
        if self._tracers is not None:
            self._tracers.abandon()
            self._tracers = None
        self._begin(Witnessing())

    def _begin(self, witnessing: Witnessing) -> None:
        self._lock = new_lock()
        self._witnesses = witnessing
        self._resources: ResourceSeries | None = None
        self._reader: ResourceReader | None = None
        self._rss_bytes: int | None = None
        self._limit_bytes: int | None = None
        self._thread: Worker | None = None
        self._stop = Signal()
        self._news = Signal()
        """An alert waits, or it is time to stop: no reason to sit out a pause."""
        self._suspected_s = float("-inf")
        self._before: Census | None = None
        self._waiting: Case | None = None
        self._spoken_id = ""
        self._loaded_s = float("-inf")
        self.cpu_time_s = 0.0
        """CPU seconds that investigations have used in this process."""

    def observe(self, sample: Sample, state: State, limit_bytes: int | None) -> None:
        """Take in a sample; called on the sampling thread, returns at once."""
        self._rss_bytes, self._limit_bytes = sample.rss_bytes, limit_bytes
        growing = state in ("suspect", "leaking")
        witness = self._witnesses.observe(sample, growing)
        if witness is not None:
            with self._lock:
                if growing:
                    self._count_resources(sample.time_s, witness.threads)
                elif state == "stable":
                    self._resources = self._reader = None
        if state == "suspect" and sample.time_s - self._suspected_s > _BETWEEN_SUSPICIONS * self._interval_s:
            self._suspected_s = sample.time_s
            self._start(None)

    def _count_resources(self, time_s: float, threads: int | None) -> None:
        # What can count them is loaded when something grows.
        from otel_memleak.diagnosis._resource_reading import ResourceReader
        from otel_memleak.diagnosis.resources import ResourceSeries

        if self._resources is None or self._reader is None:
            self._resources, self._reader = ResourceSeries(), ResourceReader()
        reading = self._reader.read(time_s, threads)
        if reading is not None:
            self._resources.offer(reading)

    def investigate(self, alert: LeakAlert) -> None:
        """Look into a leak; the next one waits for a look in progress, not for pauses, and only the last."""
        from otel_memleak.diagnosis.case import Case

        self._start(
            Case(alert.id, alert.onset_s, alert.growth_bytes_per_hour or 0.0, self._interval_s),
        )

    def stop(self) -> None:
        """End the investigation, if there is one, within a second."""
        self._stop.set()
        self._news.set()
        thread = self._thread
        if thread is not None and not thread.is_current():
            thread.join(STOP_TIMEOUT_S)

    def now_s(self) -> float:
        """The sample clock."""
        return self._clock.unix_s()

    def headroom_bytes(self) -> int | None:
        """Limit less resident memory; None without a limit."""
        if self._limit_bytes is None or self._rss_bytes is None:
            return None
        return self._limit_bytes - self._rss_bytes

    def witnesses(self, since_s: float | None) -> list[Witness]:
        """Readings since then, oldest first; where there are enough, those since diagnosing was loaded.

        That alone is 7,300 blocks and a megabyte, when growth is first suspected: in the middle of it.
        """
        since_s = since_s if since_s is not None else float("-inf")
        readings = self._witnesses.readings(since_s)
        if self._loaded_s > since_s:
            since = self._witnesses.readings(self._loaded_s)
            readings = since if len(since) >= _ENOUGH_READINGS else readings
        return readings

    def resources(self) -> list[ResourceReading]:
        """Counts over the incident, oldest first."""
        with self._lock:
            return self._resources.readings() if self._resources is not None else []

    def routes(self) -> RouteFindings:
        """What is known of the endpoints by now."""
        return self._routes()

    def origin(self, onset_s: float | None) -> Origin | None:
        """What kind of memory has grown since then, as far as that is clear without a look at the heap."""
        from otel_memleak.diagnosis.origin import classify_origin

        verdict = classify_origin(self.witnesses(onset_s))
        return None if verdict.origin == "unknown" or verdict.could_be_buffers else verdict.origin

    def _start(self, case: Case | None) -> None:
        if self._stop.is_set():
            return
        with self._lock:
            if self._thread is not None:
                self._waiting = case or self._waiting
                if case is not None:
                    self._news.set()
                return
            self._thread = Worker(THREAD_NAME, partial(self._run, case))
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self._guard.swallow("starting a diagnosis", error)

    def _run(self, case: Case | None) -> None:
        """A look for a suspicion (no case), or a whole investigation; then what has come up meanwhile."""
        while True:
            began_s = _cpu_s()
            try:
                self._look_into(case)
            except Exception as error:
                self._guard.swallow("diagnosing", error)
            self.cpu_time_s += _cpu_s() - began_s
            with self._lock:
                case, self._waiting = self._waiting, None
                self._news.clear()
                if case is None or self._stop.is_set():
                    self._thread = None
                    return

    def _look_into(self, case: Case | None) -> None:
        from otel_memleak.diagnosis import census
        from otel_memleak.diagnosis.case import Case, Tracers

        forks.leave_alone(census.is_census_fork)
        if not self._is_loaded:
            self._is_loaded, self._loaded_s = True, self._clock.unix_s()
        if case is None:
            suspicion = self._investigation(Case("", None, 0.0, self._interval_s), Tracers())
            self._before = suspicion.look()
            self._spoken_id = suspicion.spoken_id
            return
        self._tracers = self._make_tracers()
        investigation = self._investigation(case, self._tracers)
        self._before = None
        investigation.run()
        self._tracers = None
        if self._pressing() is not None:
            self._before = investigation.last_look

    def _investigation(self, case: Case, tracers: Tracers) -> Investigation:
        from otel_memleak.diagnosis.investigation import Investigation

        return Investigation(
            case,
            self,
            self._deliver,
            self._before if case.alert_id else None,
            tracers,
            wait=self._wait,
            pressing=self._pressing,
            spoken=bool(case.alert_id) and case.alert_id == self._spoken_id,
        )

    def _pressing(self) -> Case | None:
        return self._waiting

    def _wait(self, seconds: float) -> bool:
        """Wait until that, until an alert waits or until told to stop; True for the last."""
        self._news.wait(seconds)
        return self._stop.is_set()

    def _make_tracers(self) -> Tracers:
        from otel_memleak.diagnosis.case import Tracers

        if self._tracemalloc == "off":
            return Tracers()
        from otel_memleak.diagnosis.sites import SiteBudget, SiteWindows

        now_s = time.monotonic()
        sites = SiteWindows(SiteBudget(), now_s, guard=self._guard)

        def close_sites() -> None:
            sites.stop(time.monotonic())

        if self._tracemalloc != "diagnosis":
            return Tracers((sites,), sites.suspects, close=close_sites, abandon=sites.abandon)
        from otel_memleak.diagnosis.native import NativeBudget, NativeWindows

        native = NativeWindows(NativeBudget(), now_s, headroom_bytes=self.headroom_bytes(), guard=self._guard)

        def close() -> None:
            close_sites()
            native.stop()

        def abandon() -> None:
            sites.abandon()
            native.abandon()

        return Tracers((sites, native), sites.suspects, native.sites, close, abandon)


def _cpu_s() -> float:
    """CPU seconds of this thread and of the snapshots it has taken."""
    from otel_memleak.diagnosis.census import children_cpu_s

    return time.thread_time() + children_cpu_s()
