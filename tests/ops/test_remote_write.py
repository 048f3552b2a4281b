"""Metrics by remote write are the same series as by OTLP: one set of rules and one dashboard for both."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops import otlp
from ops.stack import Collector, Prometheus, eventually, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ARRIVED_WITHIN_S = 90.0
PROCESSES = 20


def test_remote_write_makes_the_same_series(directory: Path, end: ExitStack) -> None:
    """Same names, labels, exemplars and firing rules; what was sent while Prometheus was away arrives, too."""
    (directory / "otlp").mkdir()
    by_otlp = Prometheus(directory / "otlp")
    end.callback(by_otlp.running.stop)
    port = free_port()
    collector = Collector(
        directory, "base", "alerts", "prometheus", "prometheus_remote_write",
        PROMETHEUS_ENDPOINT=by_otlp.url, REMOTE_WRITE_ENDPOINT=f"http://127.0.0.1:{port}/api/v1/write",
        EXEMPLARS_INTERVAL="2s", SELF_METRICS_INTERVAL_MS="2000",
    )  # fmt: skip
    end.callback(collector.stop)
    collector.start()
    traces = set()
    for number in range(PROCESSES):
        name, trace_id = f"process-{number}", os.urandom(16)
        traces.add(trace_id.hex())
        otlp.send(f"{collector.http}/v1/metrics", otlp.metrics("fleet", name))
        otlp.send(f"{collector.http}/v1/logs", otlp.leak_record(name, instance=name))
        otlp.send(f"{collector.http}/v1/traces", otlp.leak_span(name, trace_id, instance=name))
    everybody = f'count(memleak_process_rss_bytes{{job="fleet"}}) == {PROCESSES}'
    eventually(lambda: by_otlp.query(everybody), f"by OTLP: {everybody}", ARRIVED_WITHIN_S)

    by_remote_write = Prometheus(directory, port)
    end.callback(by_remote_write.running.stop)
    eventually(lambda: by_remote_write.query(everybody), f"by remote write: {everybody}", ARRIVED_WITHIN_S)
    ours = '{__name__=~"memleak_.+"}'
    eventually(
        lambda: by_remote_write.series(ours) == by_otlp.series(ours), "the same series", ARRIVED_WITHIN_S
    )
    assert len(by_otlp.series(ours)) > PROCESSES * otlp.points_per_export()
    for prometheus in (by_otlp, by_remote_write):
        found = eventually(
            lambda one=prometheus: one.exemplars("memleak_received_calls_total"),
            "exemplars",
            ARRIVED_WITHIN_S,
        )
        assert found <= traces
        eventually(
            lambda one=prometheus: "MemleakLeak" in one.firing(job="fleet"), "MemleakLeak", ARRIVED_WITHIN_S
        )
    queue = 'otelcol_exporter_queue_size{exporter="prometheus_remote_write"}'
    eventually(lambda: by_remote_write.query(queue), "the Collector's own metrics", ARRIVED_WITHIN_S)
