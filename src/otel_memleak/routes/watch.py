"""The endpoints of this process, watched beside its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanContext, TracerProvider, get_tracer_provider

from otel_memleak.guard import Guard
from otel_memleak.routes._ledger import Ledger
from otel_memleak.routes.counter import RouteCounter, attach
from otel_memleak.routes.tally import shared_tally
from otel_memleak.threads import new_lock

if TYPE_CHECKING:
    from otel_memleak.routes.attribution import RouteAttribution
    from otel_memleak.types import RouteSuspect


class RouteWatch:
    """Counts entry-point spans and says which of them leave memory behind.

    Args:
        provider: A tracer provider; None for the global one, now or as soon as it is set.
        sampling_interval_s: Seconds between two samples.
        guard: Told of failures.
    """

    def __init__(self, provider: TracerProvider | None, sampling_interval_s: float, guard: Guard) -> None:
        self._provider = provider
        self._interval_s = sampling_interval_s
        self._guard = guard
        self._counter: RouteCounter | None = None
        self._watched: TracerProvider | None = None
        self.forget()

    def forget(self) -> None:
        """Start over, as in a forked child: what the parent retained is no matter of this process's calls."""
        # Samples come from one thread, questions from another.
        self._lock = new_lock()
        self._calls_before = shared_tally().total()
        self._ledger = Ledger(self._interval_s)
        self._attribution: RouteAttribution | None = None

    def start(self) -> None:
        """Count, as soon as there is a provider, and with one that takes its place; cheap to call again."""
        provider = self._provider or get_tracer_provider()
        if provider is self._watched:
            return
        found = attach(provider, self._guard)
        if found is not None:
            self.stop()
            self._counter, self._watched = found, provider
            found.enabled = True

    def stop(self) -> None:
        """Count no more."""
        self._watched = None
        if self._counter is not None:
            self._counter.enabled = False
            self._counter = None

    def observe(self, time_s: float, retained_bytes: float) -> None:
        """Take in a sample: when, and the memory that the detector judges."""
        with self._lock:
            self._ledger.add(time_s, retained_bytes, shared_tally().counts())

    def suspects(self) -> tuple[RouteSuspect, ...]:
        """Routes that leak, worst first; tens of milliseconds of work, for when there is an alert."""
        with self._lock:
            suspects = self._explained().suspects()
        if self._counter is not None and self._counter.approximate:
            return tuple(suspect._replace(approximate=True) for suspect in suspects)
        return suspects

    def requests(self) -> int:
        """Requests, messages and tasks served by this process so far; it never falls."""
        return shared_tally().total() - self._calls_before

    @property
    def in_background(self) -> bool:
        """Whether the growth follows the clock and no request."""
        with self._lock:
            return self._explained().verdict == "background"

    def _explained(self) -> RouteAttribution:
        # Loaded when there is growth to explain: a process that does not leak never needs it.
        from otel_memleak.routes.attribution import RouteAttribution

        if self._attribution is None:
            self._attribution = RouteAttribution(
                sampling_interval_seconds=self._interval_s, ledger=self._ledger
            )
        return self._attribution

    def recent_contexts(self, suspects: tuple[RouteSuspect, ...]) -> list[SpanContext]:
        """A few recent requests of the worst route, to link to."""
        if not suspects:
            return []
        routes = suspects[0].route.split(" + ")
        return [context for route in routes for context in shared_tally().recent_contexts(route)]
