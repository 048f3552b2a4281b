"""What follows from a verdict: it is counted, told, and looked into, and last words are got ready.

The engine looks and judges, sample by sample; whatever happens only now and then, and on other threads, is
here. What looks into a leak and what says last words is loaded when it is first wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from otel_memleak.diagnosis._witnesses import Witnessing
from otel_memleak.last_words import Approach
from otel_memleak.loading import load
from otel_memleak.parts import DIAGNOSER, ON_ALERT
from otel_memleak.probes import Resident

if TYPE_CHECKING:
    from otel_memleak.callbacks import Delivery
    from otel_memleak.diagnosis.diagnoser import Diagnoser
    from otel_memleak.diagnosis.findings import RouteFindings
    from otel_memleak.emission.alerts import Alerts
    from otel_memleak.emission.exemplars import Exemplars
    from otel_memleak.epilogue import Epilogue
    from otel_memleak.guard import Guard
    from otel_memleak.routes.watch import RouteWatch
    from otel_memleak.settings import Settings
    from otel_memleak.state import StateKeeper
    from otel_memleak.status import Status
    from otel_memleak.surroundings import Surroundings
    from otel_memleak.types import Diagnosis, LeakAlert, MemoryLimit, Reason, Sample, Severity, State


BRISK: Final = 64
"""Requests in an interval, from which on looking at the beginning of each costs more than it is worth.

As long as nothing is suspected, that is: most of what will be open at an alert has not begun then.
"""


class Responder:
    """Responds to what the detector finds in this process.

    Args:
        settings: Validated settings.
        surroundings: Clock and probes.
        guard: Told of failures.
        affordable: Whether a diagnosis is within the budget just now.
        alerts: How to tell; None for not at all.
        routes: What to ask for the endpoints that leak; None for nobody.
        delivery: Takes alerts to the user's code; None for nobody.
        keeper: Where last words are left for the next process; None for nowhere.
        lead_to: Told of the exemplars to which the counts of alerts lead, before an alert is sent.
    """

    def __init__(
        self,
        settings: Settings,
        surroundings: Surroundings,
        guard: Guard,
        affordable: Callable[[], bool],
        *,
        alerts: Alerts | None = None,
        routes: RouteWatch | None = None,
        delivery: Delivery | None = None,
        keeper: StateKeeper | None = None,
        lead_to: Callable[[Exemplars], None] | None = None,
    ) -> None:
        self.alerts = alerts
        self.routes = routes
        self._settings = settings
        self._surroundings = surroundings
        self._guard = guard
        self._affordable = affordable
        self._delivery = delivery
        self._keeper = keeper
        self._lead_to = lead_to
        self._diagnoser: Diagnoser | None = None
        self._begin()

    def _begin(self) -> None:
        """The state of a process of which nothing has been told yet."""
        self.alert_counts: Mapping[tuple[Severity, Reason], int] = {}
        self._limit: MemoryLimit | None = None
        self._requests: int | None = None
        self._postponed: LeakAlert | None = None
        self._epilogue: Epilogue | None = None
        self._approach = Approach(self._settings.sampling_interval_seconds)
        self._witnessing = Witnessing() if self._settings.diagnosis else None

    def forget(self) -> None:
        """Start over, as in a forked child; what the parent has told and looked into is the parent's."""
        self._begin()
        if self.alerts is not None:
            self.alerts.after_fork_in_child()
        if self._delivery is not None:
            self._delivery.forget()
        if self._diagnoser is not None:
            self._diagnoser.forget()
        if self.routes is not None:
            self.routes.forget()

    def stop(self) -> None:
        """Nothing more is said, and no span is looked at; an investigation ends within a second."""
        if self._epilogue is not None:
            self._epilogue.stop()
        if self._diagnoser is not None:
            self._diagnoser.stop()
        if self.alerts is not None:
            self.alerts.close()
        if self.routes is not None:
            self.routes.stop()

    def follow_providers(self) -> None:
        """Look at the spans of the provider there is now; cheap when it is the same."""
        if self.alerts is not None:
            self.alerts.watch_spans()
        if self.routes is not None:
            self.routes.start()

    @property
    def pause_s(self) -> float:
        """Seconds until somebody should look again at resident memory, at the latest."""
        return self._approach.pause_s

    @property
    def diagnosis_cpu_time_s(self) -> float:
        """CPU seconds that diagnoses have used in this process."""
        return self._diagnoser.cpu_time_s if self._diagnoser is not None else 0.0

    def follow(self, sample: Sample, state: State, limit: MemoryLimit | None) -> None:
        """Keep what a diagnosis needs to know; have one made when there is something to diagnose."""
        self._limit = limit
        self._attend(sample, state)
        if self._witnessing is None:
            return
        if state == "suspect" and not self._affordable():
            state = "leaking"  # beyond the budget growth is followed, and nothing is done to find out
        if self._diagnoser is not None or state in ("suspect", "leaking"):
            self._have_diagnoser().observe(sample, state, limit.limit_bytes if limit is not None else None)
        else:
            self._witnessing.observe(sample, growing=False)
        if self._postponed is not None and self._affordable():
            self._investigate(self._postponed)

    def _attend(self, sample: Sample, state: State) -> None:
        """Remember open spans, unless there are many, of which none is likely to be marked."""
        before, self._requests = self._requests, sample.requests
        brisk = before is not None and sample.requests is not None and sample.requests - before >= BRISK
        if self.alerts is not None:
            self.alerts.attend(not brisk or state in ("suspect", "leaking") or self._limit_near(sample))

    def _limit_near(self, sample: Sample) -> bool:
        limit_bytes = self._limit.limit_bytes if self._limit is not None else None
        return self._approach.near(sample.rss_bytes or 0, limit_bytes)

    def tell(self, alert: LeakAlert) -> None:
        """Pass on an alert, and look into a leak."""
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

    def peek(self, status: Status) -> None:
        """Read resident memory alone, between two samples, because the limit is near."""
        read = self._surroundings.read_rss_bytes()
        self.look_ahead(read.rss_bytes if isinstance(read, Resident) else read, status)

    def look_ahead(self, rss_bytes: int, status: Status) -> None:
        """Prepare last words when the limit is near, say them at it."""
        limit_bytes = status.limit.limit_bytes if status.limit is not None else None
        due = self._approach.look(self._surroundings.clock.monotonic_s(), rss_bytes, limit_bytes)
        if limit_bytes is not None and (due or self._approach.near(rss_bytes, limit_bytes)):
            self._have_epilogue().look(rss_bytes, limit_bytes, status, due=due)

    def _have_diagnoser(self) -> Diagnoser:
        if self._diagnoser is None:
            load(DIAGNOSER, _whatever_it_takes)
            from otel_memleak.diagnosis.diagnoser import Diagnoser

            self._diagnoser = Diagnoser(
                self._surroundings.clock,
                self._settings.sampling_interval_seconds,
                self._settings.tracemalloc,
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
                self._approach, self._surroundings.clock, self.alerts, self._keeper, self._count, self._guard
            )
        return self._epilogue

    def _investigate(self, alert: LeakAlert) -> None:
        self._postponed = None if self._affordable() else alert
        if self._settings.diagnosis and self._postponed is None:
            self._have_diagnoser().investigate(alert)

    def _count(self, alert: LeakAlert) -> None:
        if alert.event != "memleak.resolved":
            key = (alert.severity, alert.reason)
            self.alert_counts = {**self.alert_counts, key: self.alert_counts.get(key, 0) + 1}

    def _send(self, alert: LeakAlert) -> None:
        if self.alerts is None:
            return
        from otel_memleak.emission.notice import Notice

        if self._lead_to is not None:
            self._lead_to(self.alerts.exemplars)
        leak = self.routes if alert.event == "memleak.leak" else None
        routes = leak.suspects() if leak is not None else ()
        related = leak.recent_contexts(routes) if leak is not None else []
        source = self._limit.source if self._limit is not None else None
        now_s = self._surroundings.clock.unix_s()
        known = alert.event == "memleak.leak" and self._settings.diagnosis
        origin = self._have_diagnoser().origin(alert.onset_s) if known else None
        self.alerts.send(Notice.of_alert(alert, source, now_s, routes, origin), related)

    def _tell_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Runs on the thread of the investigation."""
        self._have_epilogue().hear_diagnosis(diagnosis)
        if self.alerts is None:
            return
        from otel_memleak.emission.notice import Notice

        related = self.routes.recent_contexts(diagnosis.routes) if self.routes is not None else []
        self.alerts.send(Notice.of_diagnosis(diagnosis, self._surroundings.clock.unix_s()), related)

    def _find_routes(self) -> RouteFindings:
        from otel_memleak.diagnosis.findings import RouteFindings

        if self.routes is None:
            return RouteFindings()
        return RouteFindings(self.routes.suspects(), self.routes.in_background)


def _whatever_it_takes() -> bool:
    return True
