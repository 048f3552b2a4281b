"""The whole engine on systems that are not Linux with glibc: fewer readings, the same verdict, no complaints."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from otel import InMemoryTelemetry
from otel_memleak.emission import Alerts, Metrics
from otel_memleak.engine import Engine, Surroundings
from otel_memleak.guard import Guard
from otel_memleak.kinds import KindsReader
from otel_memleak.probes import ProbeError, RssProbe, read_limit
from otel_memleak.probes._pages import read_pages
from otel_memleak.settings import resolve
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB, MemoryLimit


class Host:
    """A process that grows by 400 MB an hour on a system of our making.

    Args:
        root: Stands for ``/``; has neither procfs nor cgroups unless a test puts them there.
        statm: Whether there is a ``/proc/self/statm``; psutil's place is taken by a function otherwise.
    """

    def __init__(self, root: Path, *, statm: bool) -> None:
        self.clock = ManualClock()
        self.root = root
        self.statm = root / "proc" / "self" / "statm" if statm else None
        self.probe = RssProbe(str(root / "proc"), 4096, fallback=None if statm else self.rss_bytes)
        if self.statm is not None:
            self.statm.parent.mkdir(parents=True)

    def rss_bytes(self) -> int:
        return int((100 + 400 * self.clock.monotonic_s() / 3600) * MB)

    def surroundings(self) -> Surroundings:
        return Surroundings(
            clock=self.clock,
            read_rss_bytes=self.probe.read_resident,
            read_limit=self.read_limit,
            make_kinds=lambda: KindsReader(
                pages=lambda: read_pages(str(self.root / "proc")),
                malloc=lambda: None,
                cpu_s=itertools.count(0.0, 1e9).__next__,  # what may take long is done once
            ),
        )

    def read_limit(self, configured_bytes: int | None) -> MemoryLimit | None:
        return read_limit(configured_bytes, proc_root=str(self.root / "proc"), root=self.root)

    def live(self, engine: Engine, seconds: float) -> None:
        for _ in range(round(seconds / 60)):
            if self.statm is not None:
                self.statm.write_text(f"0 {self.rss_bytes() // 4096} 1000 0 0 0 0\n")
            engine.tick()
            self.clock.advance(60)


@pytest.fixture(params=["macOS, no procfs", "musl, no mallinfo2"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, statm=request.param.startswith("musl"))


def test_a_leak_is_found_and_told_where_little_can_be_read(host: Host, telemetry: InMemoryTelemetry) -> None:
    """No cgroup, no smaps, no malloc statistics: RSS alone, and nothing is counted as a failure."""
    guard = Guard()
    providers = telemetry.providers
    engine = Engine(
        resolve({"tracemalloc": "off", "diagnosis": "off", "patience": 1_800_000}),
        Metrics(providers["meter_provider"]),
        Alerts(("log", "span_event"), providers["tracer_provider"], providers["logger_provider"]),
        surroundings=host.surroundings(),
        guard=guard,
    )
    engine._metrics.bind(engine)  # type: ignore[union-attr]
    host.live(engine, 2 * 3600)
    told = [log.log_record.event_name for log in telemetry.logs()]
    sources = {
        point.attributes["memleak.limit.source"]
        for point in telemetry.metrics().get("memleak.process.limit", [])
    }
    rss = telemetry.metrics()["memleak.process.rss"][0].value
    engine._metrics.unbind()  # type: ignore[union-attr]

    assert "memleak.leak" in told
    assert guard.errors == 0
    assert sources <= {"host", "rlimit"}
    assert abs(rss - host.rss_bytes()) < 10 * MB


def test_a_host_that_tells_nothing_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No procfs and no psutil: no sample, one complaint, and the process goes on."""
    monkeypatch.setattr("otel_memleak.guard.reraise", False)
    host = Host(tmp_path, statm=False)

    def absent() -> int:
        raise ProbeError("psutil: ImportError: No module named 'psutil'")

    host.probe = RssProbe(str(tmp_path / "proc"), 4096, fallback=absent)
    guard = Guard()
    engine = Engine(
        resolve({"tracemalloc": "off", "diagnosis": "off"}), surroundings=host.surroundings(), guard=guard
    )
    host.live(engine, 600)

    assert engine.status is not None
    assert engine.status.sample.rss_bytes is None
    assert guard.errors == 10
