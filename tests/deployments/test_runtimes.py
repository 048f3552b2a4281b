"""Event loops, greenlets and hundreds of threads: the watch goes on, tells leaky from healthy, and ends in time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.runtimes import KINDS
from processes import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

PROGRAM = str(Path(__file__).with_name("runtimes.py"))
GEVENT = {"OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH": "patch_all"}
LEAK_S = 240
TWINS = ("leaky", "healthy")


def start(kind: str, twin: str) -> Service:
    more = GEVENT if kind == "gevent" else {}
    return Service(
        command=[sys.executable, PROGRAM, kind, twin], launcher=kind != "eventlet",
        OTEL_PYTHON_MEMLEAK_TIER="development", OTEL_PYTHON_MEMLEAK_TRACEMALLOC="off", **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def services() -> Iterator[dict[tuple[str, str], Service]]:
    """All of them at once: they mostly wait."""
    started = {(kind, twin): start(kind, twin) for kind in KINDS for twin in TWINS}
    yield started
    for service in started.values():
        service.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_watch_goes_on_under_every_runtime(kind: str, services: dict[tuple[str, str], Service]) -> None:
    """The leaky twin is found out, the healthy one is not, and both end by themselves when told to."""
    leaky, healthy = (services[kind, twin] for twin in TWINS)
    leaky.receiver.wait_for(lambda: leaky.receiver.logs("memleak.leak"), LEAK_S)
    leaky.receiver.wait_for(lambda: leaky.receiver.spans("memleak.leak"), 20)
    for service in (leaky, healthy):
        assert len(service.receiver.metrics("memleak.process.rss")) > 5
        assert service.finish(signal.SIGTERM, timeout_s=60) == 0, service.output
        assert "otel_memleak failed" not in service.output
        if not kind.endswith(
            "-late"
        ):  # every thread that was there before ends with a KeyError of threading's
            assert "src/otel_memleak/" not in service.output
    assert healthy.receiver.logs("memleak.leak") == []
    if kind == "asyncio-loops":
        counts = [point.value or 0 for point in healthy.receiver.metrics("memleak.asyncio.tasks")]
        assert 0 < max(counts) <= 21 * 3, "of all loops that are running, and of none that is closed"
