"""Forked and spawned workers: each watches itself, and itself only."""

from __future__ import annotations

import os

import pytest
from opentelemetry.sdk import resources

from otel_memleak.types import MB
from processes import Service

HEAVY_BYTES = 95 * MB
"""Between a parent without the ballast of 60 MB (60 to 75 MB, by interpreter) and a worker with it."""


@pytest.mark.timeout(180)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(
    not hasattr(resources, "_get_process_dependent_resource"),
    reason="this SDK gives a forked worker its parent's identity",
)
@pytest.mark.parametrize(
    "kind",
    [
        "fork",
        "forkserver",
        pytest.param("multiprocessing-fork", marks=pytest.mark.slow),
        pytest.param("spawn", marks=pytest.mark.slow),
        pytest.param("pool", marks=pytest.mark.slow),
    ],
)
def test_every_worker_reports_its_own_memory_under_its_own_identity(kind: str) -> None:
    """The ballast of a worker shows in the worker's RSS and not in its parent's; each has an instance id.

    The receiver sees helper processes of multiprocessing as well, if they export anything of ours.
    """
    with Service("workers.py", kind, "6") as service:
        receiver = service.receiver

        def by_instance() -> dict[str, float]:
            peaks: dict[str, float] = {}
            for point in receiver.metrics("memleak.process.rss"):
                name = str(point.process.instance_id)
                peaks[name] = max(peaks.get(name, 0.0), float(point.value))
            return peaks

        def heavy() -> list[float]:
            return [rss for rss in by_instance().values() if rss > HEAVY_BYTES]

        receiver.wait_for(lambda: len(heavy()) >= 2, timeout_s=90)
        assert service.finish(timeout_s=60) == 0
        rss = by_instance()

    # The parent and two workers; the fork server and the resource tracker have nothing to say.
    assert len(rss) == 3, rss
    assert len([r for r in rss.values() if r > HEAVY_BYTES]) == 2
    alerts = {str(p.process.instance_id): p.value for p in receiver.metrics("memleak.alerts")}
    assert set(alerts.values()) == {0}
    # The SDK prints one of its own where a last collection times out on a busy machine.
    assert "src/otel_memleak/" not in service.output


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_no_worker_is_silent_whenever_it_was_forked() -> None:
    """Forty forks while the parent collects its metrics every other second: forty-one processes export.

    The parent has sent an alert before; every child counts its own and only its own.
    """
    settings = {"OTEL_METRIC_EXPORT_INTERVAL": "2000", "OTEL_PYTHON_MEMLEAK_RSS_WARNING": "1"}
    with Service("workers.py", "storm", "20", prefix="memleak", **settings) as service:
        assert service.finish(timeout_s=300) == 0
        rss = {point.process for point in service.receiver.metrics("memleak.process.rss")}
        counts = {p.series: p for p in service.receiver.metrics("memleak.alerts") if p.value}
        assert "otel_memleak failed" not in service.output

    assert len(rss) == 41
    assert {point.value for point in counts.values()} == {1}
