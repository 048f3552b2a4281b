"""Observable instruments over what the engine has published.

Callbacks only read: they run under the SDK's collection lock, and a fork while one of them is working would
leave that lock held in the child for ever. They are made once per provider, because the SDK has no way to
take one back; a slot between them and the engine is filled by ``instrument()`` and emptied by
``uninstrument()``, and an empty slot observes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    Meter,
    MeterProvider,
    Observation,
    get_meter_provider,
)

from otel_memleak import forks, semconv
from otel_memleak.per_provider import PerProvider
from otel_memleak.threads import sleep
from otel_memleak.version import __version__
from otel_memleak.vocabulary import REASONS, SEVERITIES, STATES

if TYPE_CHECKING:
    from otel_memleak.emission.exemplars import Exemplars
    from otel_memleak.status import Status, StatusSource


class Slot:
    """Where the callbacks of one provider find the engine to read from."""

    __slots__ = ("exemplars", "source")

    def __init__(self) -> None:
        self.source: StatusSource | None = None
        self.exemplars: Exemplars | None = None


_ALERTS: Final = "memleak.alerts"
_NO_CONTEXT: Final = Context()
_GLOBAL_SLOT: Final = Slot()
_slots: Final[PerProvider[Slot]] = PerProvider()
_histograms: Final[PerProvider[Histogram]] = PerProvider()


class Metrics:
    """The metrics of one engine on one provider.

    Args:
        provider: A meter provider; None for the global one, now or as soon as it is set.
    """

    def __init__(self, provider: MeterProvider | None) -> None:
        current = get_meter_provider()
        actual = provider if provider is not None else current
        # One slot for the global provider and for the proxy that stands in before it is set: instruments
        # made through the proxy keep their callbacks when the real provider arrives.
        self._slot = _GLOBAL_SLOT if actual is current else _slots.get(actual, Slot)
        self._histogram = _histograms.get(actual, lambda: _create_instruments(actual, self._slot))
        self._provider = provider
        self._source: StatusSource | None = None

    def bind(self, source: StatusSource, exemplars: Exemplars | None = None) -> bool:
        """Let the callbacks read from this source, in the place of the one that was bound before.

        Args:
            source: What to read.
            exemplars: Where the counts of alerts lead; None for nowhere.

        Returns:
            False when another engine of this process is being read from already.
        """
        bound = self._slot.source
        if bound is not None and bound is not source and bound is not self._source:
            return False
        self._slot.source = self._source = source
        self._slot.exemplars = exemplars
        forks.hold_through(self)
        return True

    def unbind(self) -> None:
        """Stop observing; nothing of the engine stays referenced."""
        if self._slot.source is self._source:
            self._slot.source = self._slot.exemplars = None
        self._source = None
        forks.hold_no_more(self)

    def before_fork(self) -> None:
        """Let a collection end before the process forks."""
        from otel_memleak.emission.fork_locks import hold

        hold(self._provider if self._provider is not None else get_meter_provider())

    def after_fork(self) -> None:
        """Let collections begin again, in the parent and in the child."""
        from otel_memleak.emission.fork_locks import let_go

        let_go()

    def after_fork_in_child(self) -> None:
        """Free what the parent has left locked, connect anew, and make up for hooks that did not run."""
        from otel_memleak.emission.fork_locks import mend, revive

        provider = self._provider if self._provider is not None else get_meter_provider()
        mend(provider)
        if forks.unnoticed():
            revive(provider)

    def record(self, rss_bytes: int) -> None:
        """Add a sample to the distribution."""
        if self._source is not None and not self._source.excludes("memleak.process.rss.distribution"):
            # No current span to look for on the sampling thread.
            self._histogram.record(rss_bytes, context=_NO_CONTEXT)


def _create_instruments(provider: MeterProvider, slot: Slot) -> Histogram:
    meter = provider.get_meter(semconv.SCOPE, __version__, semconv.SCHEMA_URL)
    for metric in semconv.METRICS:
        if metric.instrument != "Histogram":
            _create_observable(meter, metric, slot)
    metric = next(metric for metric in semconv.METRICS if metric.instrument == "Histogram")
    return meter.create_histogram(
        metric.name,
        unit=metric.unit,
        description=metric.description,
        explicit_bucket_boundaries_advisory=semconv.RSS_BUCKETS_BYTES,
    )


def _create_observable(meter: Meter, metric: semconv.Metric, slot: Slot) -> None:
    counter = metric.instrument == "ObservableCounter"
    create = meter.create_observable_counter if counter else meter.create_observable_gauge
    create(
        metric.name,
        callbacks=[_callback(slot, metric.name)],
        unit=metric.unit,
        description=metric.description,
    )


_OF_MANY_POINTS: Final = ("memleak.state", _ALERTS)
"""Before them the interpreter's lock is let go: a collection is not to hold up others for a millisecond."""


def _callback(slot: Slot, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    observe = _OBSERVE[name]

    def callback(options: CallbackOptions) -> Iterable[Observation]:
        source = slot.source
        if source is None:
            return ()
        source.ensure_alive()
        status = source.status
        if status is None or source.excludes(name):
            return ()
        if name in _OF_MANY_POINTS:
            sleep(0.0)
        observed = observe(status, source)
        exemplars = slot.exemplars if name == _ALERTS else None
        return observed if exemplars is None else _leading(observed, exemplars)

    return callback


def _leading(observed: Iterable[Observation], exemplars: Exemplars) -> Iterable[Observation]:
    """The counts of alerts, each with the trace of what raised it."""
    for one in observed:
        attributes = {key: str(value) for key, value in (one.attributes or {}).items()}
        yield Observation(one.value, attributes, exemplars.context(attributes))


def _one(value: float | None) -> Iterable[Observation]:
    return [] if value is None else [Observation(value)]


def _limit(status: Status, source: StatusSource) -> Iterable[Observation]:
    if status.limit is None:
        return ()
    return (Observation(status.limit.limit_bytes, {semconv.LIMIT_SOURCE: status.limit.source}),)


def _states(status: Status, source: StatusSource) -> Iterable[Observation]:
    return [Observation(int(state == status.state), {semconv.STATE: state}) for state in STATES]


def _alerts(status: Status, source: StatusSource) -> Iterable[Observation]:
    return [
        Observation(
            source.alert_counts.get((severity, reason), 0),
            {semconv.ALERT_SEVERITY: severity, semconv.ALERT_REASON: reason},
        )
        for severity in SEVERITIES
        for reason in REASONS
    ]


_OBSERVE: Final[dict[str, Callable[[Status, StatusSource], Iterable[Observation]]]] = {
    "memleak.process.rss": lambda status, source: _one(status.sample.rss_bytes),
    "memleak.process.limit": _limit,
    "memleak.tracemalloc.current": lambda status, source: _one(status.sample.tracemalloc_current_bytes),
    "memleak.tracemalloc.peak": lambda status, source: _one(status.sample.tracemalloc_peak_bytes),
    "memleak.growth.rate": lambda status, source: _one(status.growth_bytes_per_hour),
    "memleak.time_to_limit": lambda status, source: _one(status.time_to_limit_s),
    "memleak.state": _states,
    _ALERTS: _alerts,
    "memleak.asyncio.tasks": lambda status, source: _one(status.sample.asyncio_tasks),
    "memleak.python.allocated_blocks": lambda status, source: _one(status.sample.allocated_blocks),
    "memleak.overhead.cpu_time": lambda status, source: _one(status.cpu_time_s),
    "memleak.overhead.errors": lambda status, source: _one(source.swallowed_errors),
}
