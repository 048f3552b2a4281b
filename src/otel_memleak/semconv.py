"""Names on the wire: every metric, event and attribute, with unit and instrument.

Dashboards and alert rules depend on these. The README's tables and the instruments are tested against this
module, so that none of them can drift from the others.
"""

from __future__ import annotations

from typing import Final, Literal

from otel_memleak.records import NamedTuple

SCOPE: Final = "otel_memleak"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""A literal: the enumeration in ``opentelemetry.semconv`` lacks members in the older supported releases."""

EVENT_LEAK: Final = "memleak.leak"
EVENT_RSS: Final = "memleak.rss"
EVENT_DIAGNOSIS: Final = "memleak.diagnosis"
EVENT_RESOLVED: Final = "memleak.resolved"

ALERT_ID: Final = "memleak.alert.id"
ALERT_SEVERITY: Final = "memleak.alert.severity"
ALERT_REASON: Final = "memleak.alert.reason"
CONFIDENCE: Final = "memleak.confidence"
GROWTH_BYTES: Final = "memleak.growth.bytes"
GROWTH_ONSET: Final = "memleak.growth.onset"
GROWTH_PATTERN: Final = "memleak.growth.pattern"
GROWTH_RATE: Final = "memleak.growth.rate"
GROWTH_RATE_HIGH: Final = "memleak.growth.rate.high"
GROWTH_RATE_LOW: Final = "memleak.growth.rate.low"
LIMIT_SOURCE: Final = "memleak.limit.source"
ORIGIN: Final = "memleak.origin"
PROCESS_BASELINE: Final = "memleak.process.baseline"
PROCESS_LIMIT: Final = "memleak.process.limit"
PROCESS_RSS: Final = "memleak.process.rss"
STATE: Final = "memleak.state"
SUSPECT_GROWTH: Final = "memleak.suspect.growth"
SUSPECT_OWNER: Final = "memleak.suspect.owner"
SUSPECT_ROUTE: Final = "memleak.suspect.route"
SUSPECT_ROUTE_BYTES_PER_CALL: Final = "memleak.suspect.route.bytes_per_call"
SUSPECT_SITE: Final = "memleak.suspect.site"
SUSPECT_TYPE: Final = "memleak.suspect.type"
TIME_TO_LIMIT: Final = "memleak.time_to_limit"

Instrument = Literal["ObservableGauge", "ObservableCounter", "Histogram"]


class Metric(NamedTuple):
    """One metric of this package.

    Attributes:
        name: Instrument name.
        instrument: Kind of instrument.
        unit: UCUM unit, as it goes over the wire.
        description: One sentence for people, exported with the metric.
        attributes: Keys of its attributes.
    """

    name: str
    instrument: Instrument
    unit: str
    description: str
    attributes: tuple[str, ...] = ()


METRICS: Final[tuple[Metric, ...]] = (
    Metric("memleak.process.rss", "ObservableGauge", "By", "Resident set size of this process."),
    Metric("memleak.process.limit", "ObservableGauge", "By",
           "Memory limit that will kill this process.", (LIMIT_SOURCE,)),
    Metric("memleak.tracemalloc.current", "ObservableGauge", "By",
           "Traced Python allocations; no point unless tracemalloc is tracing."),
    Metric("memleak.tracemalloc.peak", "ObservableGauge", "By",
           "Peak of traced Python allocations; no point unless tracemalloc is tracing."),
    Metric("memleak.process.rss.distribution", "Histogram", "By", "Every sample of resident memory."),
    Metric("memleak.growth.rate", "ObservableGauge", "By/h",
           "Robust, de-seasonalised growth of resident memory; 0 when stable."),
    Metric("memleak.time_to_limit", "ObservableGauge", "s",
           "Time until the limit at the present growth; no point while memory is not growing."),
    Metric("memleak.state", "ObservableGauge", "1",
           "Verdict on this process: the current state is 1, the others are 0.", (STATE,)),
    Metric("memleak.alerts", "ObservableCounter", "{alert}",
           "Alerts sent by this process.", (ALERT_SEVERITY, ALERT_REASON)),
    Metric("memleak.asyncio.tasks", "ObservableGauge", "{task}",
           "Unfinished asyncio tasks of every loop; development tier."),
    Metric("memleak.python.allocated_blocks", "ObservableGauge", "{block}",
           "Memory blocks in use in CPython's allocator."),
    Metric("memleak.overhead.cpu_time", "ObservableCounter", "s",
           "CPU time this instrumentation has used in this process."),
    Metric("memleak.overhead.errors", "ObservableCounter", "{error}",
           "Failures this instrumentation has swallowed."),
)  # fmt: skip

RSS_BUCKETS_BYTES: Final = tuple(float(mb << 20) for mb in (
    16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768, 65536
))  # fmt: skip
"""Bucket boundaries advised for the distribution: container sizes people give to services."""
