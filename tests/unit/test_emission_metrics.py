"""Metrics over a published status, through the real SDK."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel import InMemoryTelemetry
from otel_memleak import semconv
from otel_memleak.emission.metrics import Metrics
from otel_memleak.status import Status
from otel_memleak.types import MB, MemoryLimit, Reason, Sample, Severity

CONTRACT = {
    "memleak.process.rss": ("gauge", "By"),
    "memleak.process.limit": ("gauge", "By"),
    "memleak.tracemalloc.current": ("gauge", "By"),
    "memleak.tracemalloc.peak": ("gauge", "By"),
    "memleak.process.rss.distribution": ("histogram", "By"),
    "memleak.growth.rate": ("gauge", "By/h"),
    "memleak.time_to_limit": ("gauge", "s"),
    "memleak.state": ("gauge", "1"),
    "memleak.alerts": ("counter", "{alert}"),
    "memleak.asyncio.tasks": ("gauge", "{task}"),
    "memleak.python.allocated_blocks": ("gauge", "{block}"),
    "memleak.overhead.cpu_time": ("counter", "s"),
    "memleak.overhead.errors": ("counter", "{error}"),
}

FULL = Status(
    sample=Sample(1.0, 100 * MB, 7, 9, 1234, 5),
    limit=MemoryLimit(512 * MB, "cgroup"),
    state="leaking",
    baseline_bytes=90.0 * MB,
    growth_bytes_per_hour=12.5 * MB,
    time_to_limit_s=3600.0,
    samples=3,
    cpu_time_s=0.25,
)


@dataclass
class Source:
    """A status to read, as an engine would publish it."""

    status: Status | None = FULL
    alert_counts: dict[tuple[Severity, Reason], int] = field(default_factory=dict)
    swallowed_errors: int = 0
    excluded: frozenset[str] = frozenset()
    revived: int = 0

    def excludes(self, metric_name: str) -> bool:
        return metric_name in self.excluded

    def ensure_alive(self) -> None:
        self.revived += 1


def bound(telemetry: InMemoryTelemetry, source: Source) -> Metrics:
    metrics = Metrics(telemetry.meter_provider)
    assert metrics.bind(source)
    return metrics


def kind(metric: object) -> str:
    data = type(metric.data).__name__  # type: ignore[attr-defined]
    return {"Gauge": "gauge", "Sum": "counter", "Histogram": "histogram"}[data]


def test_every_metric_of_the_contract_is_exported_with_its_kind_and_unit(
    telemetry: InMemoryTelemetry,
) -> None:
    """Dashboards depend on name, instrument and unit: all of them, and nothing else."""
    bound(telemetry, Source()).record(100 * MB)

    exported = {m.name: (kind(m), m.unit) for _, m in telemetry.raw_metrics()}

    assert exported == CONTRACT


def test_the_scope_has_name_version_and_schema(telemetry: InMemoryTelemetry) -> None:
    """What sent a metric must be traceable to a release."""
    bound(telemetry, Source())

    scope, _ = telemetry.raw_metrics()[0]

    assert (scope.name, scope.schema_url) == ("otel_memleak", semconv.SCHEMA_URL)
    assert scope.version


def test_values_are_those_of_the_status(telemetry: InMemoryTelemetry) -> None:
    """A callback passes on what was published, unchanged and with its type."""
    bound(telemetry, Source(swallowed_errors=4))

    points = telemetry.metrics()

    assert [p.value for p in points["memleak.process.rss"]] == [100 * MB]
    assert [(p.value, dict(p.attributes)) for p in points["memleak.process.limit"]] == [
        (512 * MB, {"memleak.limit.source": "cgroup"})
    ]
    assert [p.value for p in points["memleak.tracemalloc.current"]] == [7]
    assert [p.value for p in points["memleak.tracemalloc.peak"]] == [9]
    assert [p.value for p in points["memleak.growth.rate"]] == [12.5 * MB]
    assert [p.value for p in points["memleak.time_to_limit"]] == [3600.0]
    assert [p.value for p in points["memleak.asyncio.tasks"]] == [5]
    assert [p.value for p in points["memleak.python.allocated_blocks"]] == [1234]
    assert [p.value for p in points["memleak.overhead.cpu_time"]] == [0.25]
    assert [p.value for p in points["memleak.overhead.errors"]] == [4]


def test_what_is_unknown_has_no_point(telemetry: InMemoryTelemetry) -> None:
    """No point rather than a zero: a missing time to limit must not look like an imminent one."""
    status = FULL._replace(sample=Sample(1.0, None), limit=None, time_to_limit_s=None)
    bound(telemetry, Source(status))

    missing = {"memleak.process.rss", "memleak.process.limit", "memleak.tracemalloc.current",
               "memleak.tracemalloc.peak", "memleak.time_to_limit", "memleak.asyncio.tasks",
               "memleak.python.allocated_blocks"}  # fmt: skip

    assert missing.isdisjoint(telemetry.metrics())


def test_all_states_are_reported_and_one_of_them_is_one(telemetry: InMemoryTelemetry) -> None:
    """So that a query for one state finds a 0, not a gap."""
    bound(telemetry, Source())

    states = {p.attributes["memleak.state"]: p.value for p in telemetry.metrics()["memleak.state"]}

    assert states == {"warming_up": 0, "stable": 0, "suspect": 0, "leaking": 1}


def test_alerts_count_from_zero(telemetry: InMemoryTelemetry) -> None:
    """The first alert must be an increase for ``rate()``, so every series exists before it."""
    bound(telemetry, Source(alert_counts={("critical", "forecast"): 2}))

    points = telemetry.metrics()["memleak.alerts"]
    counts = {
        (p.attributes["memleak.alert.severity"], p.attributes["memleak.alert.reason"]): p.value
        for p in points
    }

    assert len(counts) == 6
    assert counts.pop(("critical", "forecast")) == 2
    assert set(counts.values()) == {0}


def test_nothing_is_exported_before_the_first_sample_and_after_unbinding(
    telemetry: InMemoryTelemetry,
) -> None:
    """A process that is not watched must not look like a healthy one."""
    source = Source(status=None)
    metrics = bound(telemetry, source)
    assert telemetry.metrics() == {}
    source.status = FULL
    assert telemetry.metrics()

    metrics.unbind()
    metrics.record(1)

    assert telemetry.metrics() == {}


def test_a_second_binding_to_the_same_provider_works(telemetry: InMemoryTelemetry) -> None:
    """The SDK ignores callbacks of an instrument made twice: ours must not depend on new ones."""
    bound(telemetry, Source()).unbind()
    status = FULL._replace(sample=Sample(1.0, 42))

    bound(telemetry, Source(status))

    assert [p.value for p in telemetry.metrics()["memleak.process.rss"]] == [42]


def test_only_one_engine_is_read_at_a_time(telemetry: InMemoryTelemetry) -> None:
    """Two engines on one provider would be two points with the same attributes."""
    bound(telemetry, Source())

    assert not Metrics(telemetry.meter_provider).bind(Source())


def test_excluded_metrics_are_not_exported(telemetry: InMemoryTelemetry) -> None:
    """What the user excluded stays silent, the histogram included; the rest does not."""
    excluded = frozenset({"memleak.process.rss", "memleak.process.rss.distribution"})
    bound(telemetry, Source(excluded=excluded)).record(1)

    names = set(telemetry.metrics())

    assert names.isdisjoint(excluded)
    assert "memleak.growth.rate" in names


def test_a_collection_notices_a_fork(telemetry: InMemoryTelemetry) -> None:
    """After a fork in C no Python hook ran: the collection is the first of our code to run there."""
    source = Source()
    bound(telemetry, source)

    telemetry.metrics()

    assert source.revived > 0


def test_a_dropped_provider_is_not_kept_alive() -> None:
    """Applications and tests replace providers: the old one must be free to go."""
    provider = MeterProvider(metric_readers=[InMemoryMetricReader()])
    metrics = Metrics(provider)
    metrics.bind(Source())
    metrics.unbind()
    provider.shutdown()
    gone = weakref.ref(provider)

    del provider, metrics
    gc.collect()

    assert gone() is None


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_every_metric_is_described(name: str) -> None:
    """Backends show the description; each metric has a sentence."""
    metric = next(m for m in semconv.METRICS if m.name == name)

    assert metric.description.endswith(".")
