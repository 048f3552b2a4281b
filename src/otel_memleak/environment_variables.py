"""Environment variables read by `MemLeakInstrumentor.instrument`, one per setting.

The launcher turns each of them into a flag: ``opentelemetry-instrument --memleak_sampling_interval 10000 …``.
Meaning, range and default of every setting are stated once, in `otel_memleak.settings`; an empty variable
is an unset one, and a value that cannot be used is reported once and ignored.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "OTEL_PYTHON_MEMLEAK_"
"""A setting's variable is this prefix and the setting's name in upper case."""

OTEL_PYTHON_MEMLEAK_TIER = "OTEL_PYTHON_MEMLEAK_TIER"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_TIER

``production`` (default), ``development`` or ``disabled``.
"""

OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL = "OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL

Milliseconds between two looks at the process. Default 60000 (development: 10000).
"""

OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW = "OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW

Milliseconds whose samples make the baseline. Default 300000 (development: 60000).
"""

OTEL_PYTHON_MEMLEAK_PATIENCE = "OTEL_PYTHON_MEMLEAK_PATIENCE"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_PATIENCE

Milliseconds growth is watched before it is called a leak, or ``auto``. Default ``auto``
(development: 300000).
"""

OTEL_PYTHON_MEMLEAK_HISTORY_SIZE = "OTEL_PYTHON_MEMLEAK_HISTORY_SIZE"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_HISTORY_SIZE

Samples kept at full resolution. Default 1000.
"""

OTEL_PYTHON_MEMLEAK_GROWTH_WARNING = "OTEL_PYTHON_MEMLEAK_GROWTH_WARNING"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_GROWTH_WARNING

MB per hour from which growth matters by itself. Default 50 (development: 10).
"""

OTEL_PYTHON_MEMLEAK_GROWTH_CRITICAL = "OTEL_PYTHON_MEMLEAK_GROWTH_CRITICAL"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_GROWTH_CRITICAL

MB per hour from which a leak is critical. Default 100.
"""

OTEL_PYTHON_MEMLEAK_RSS_WARNING = "OTEL_PYTHON_MEMLEAK_RSS_WARNING"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_RSS_WARNING

MB of resident memory that warn, ``auto`` (80 % of the limit) or ``0`` (off). Default ``auto``.
"""

OTEL_PYTHON_MEMLEAK_RSS_CRITICAL = "OTEL_PYTHON_MEMLEAK_RSS_CRITICAL"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_RSS_CRITICAL

MB of resident memory that are critical, ``auto`` (90 % of the limit) or ``0`` (off). Default ``auto``.
"""

OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT = "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT

MB at which the process will be killed, or ``auto`` (found out from cgroup and rlimit). Default ``auto``.
"""

OTEL_PYTHON_MEMLEAK_ALERT_INTERVAL = "OTEL_PYTHON_MEMLEAK_ALERT_INTERVAL"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_ALERT_INTERVAL

Milliseconds in which at most one alert of a kind and severity is sent. Default 3600000.
"""

OTEL_PYTHON_MEMLEAK_TRACEMALLOC = "OTEL_PYTHON_MEMLEAK_TRACEMALLOC"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_TRACEMALLOC

``off``, ``on`` or ``diagnosis``. Default ``off`` (development: ``on``).
"""

OTEL_PYTHON_MEMLEAK_TRACEMALLOC_FRAMES = "OTEL_PYTHON_MEMLEAK_TRACEMALLOC_FRAMES"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_TRACEMALLOC_FRAMES

Frames kept per traced allocation. Default 1.
"""

OTEL_PYTHON_MEMLEAK_DIAGNOSIS = "OTEL_PYTHON_MEMLEAK_DIAGNOSIS"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_DIAGNOSIS

``on`` (default) or ``off``.
"""

OTEL_PYTHON_MEMLEAK_STATE_FILE = "OTEL_PYTHON_MEMLEAK_STATE_FILE"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_STATE_FILE

File that keeps baseline and history across restarts. Default none.
"""

OTEL_PYTHON_MEMLEAK_ALERT_TARGETS = "OTEL_PYTHON_MEMLEAK_ALERT_TARGETS"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_ALERT_TARGETS

Comma-separated: ``log``, ``span_event``; or ``none``. Default ``log,span_event``.
"""

OTEL_PYTHON_MEMLEAK_EXCLUDED_METRICS = "OTEL_PYTHON_MEMLEAK_EXCLUDED_METRICS"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_EXCLUDED_METRICS

Comma-separated names or shell patterns of metrics not to export, e.g. ``memleak.tracemalloc.*``.
"""

OTEL_PYTHON_MEMLEAK_OVERHEAD_BUDGET = "OTEL_PYTHON_MEMLEAK_OVERHEAD_BUDGET"
"""
.. envvar:: OTEL_PYTHON_MEMLEAK_OVERHEAD_BUDGET

Percent of one core that watching may use; above it diagnosis is postponed and sampling slowed. 0 is no limit.
Default 0.1.
"""
