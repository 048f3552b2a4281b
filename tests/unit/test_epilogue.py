"""Last words of a scripted process: which event, under which id, flushed, left in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from errands import AtOnce
from otel import InMemoryTelemetry
from otel_memleak import guard as guard_module
from otel_memleak.emission import Alerts
from otel_memleak.engine import Engine
from otel_memleak.guard import Guard
from otel_memleak.settings import resolve
from otel_memleak.state.slot import read
from otel_memleak.surroundings import Surroundings
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB, Diagnosis, LeakAlert, MemoryLimit, Suspect

LIMIT = MemoryLimit(512 * MB, "cgroup")


class Process:
    """An engine without threads over a process that follows a function of time."""

    def __init__(
        self, rss_mb: Callable[[float], float], telemetry: InMemoryTelemetry, path: Path, **settings: Any
    ) -> None:
        self.clock = ManualClock()
        self.guard = Guard()
        self.heard: list[LeakAlert] = []
        self.flushes: list[int] = []
        self.rss_mb = rss_mb
        providers = telemetry.providers
        self.alerts = Alerts(
            ("log", "span_event"), providers["tracer_provider"], providers["logger_provider"]
        )
        self.engine = Engine(
            resolve(
                {"tracemalloc": "off", "diagnosis": "off", "state_file": str(path), "memory_limit": 512}
                | settings
            ),
            None,
            self.alerts,
            None,
            self,
            Surroundings(self.clock, self.rss_bytes, lambda configured: LIMIT, make_kinds=None),
            guard=self.guard,
        )
        assert self.engine._keeper is not None
        self.keeper = self.engine._keeper
        self.errands = AtOnce(self.guard)
        self.engine._keeper._errands = self.errands
        self.engine._responder._have_epilogue()._errands = AtOnce(self.guard)
        self.alerts.flush = self.flushes.append  # type: ignore[method-assign]
        self.keeper.start(self.engine._export)

    def rss_bytes(self) -> int:
        return int(self.rss_mb(self.clock.monotonic_s()) * MB)

    def deliver(self, alert: LeakAlert) -> None:
        self.heard.append(alert)

    def forget(self) -> None:
        self.heard.clear()

    def live(self, seconds: float) -> None:
        """Tick and peek as the ticker would."""
        end_s = self.clock.monotonic_s() + seconds
        due_s = self.clock.monotonic_s()
        while self.clock.monotonic_s() < end_s:
            if self.clock.monotonic_s() >= due_s:
                self.engine.tick()
                due_s += self.engine.settings.sampling_interval_seconds
            else:
                self.engine.peek()
            pause_s = self.engine.pause_s
            self.clock.advance(min(pause_s, due_s - self.clock.monotonic_s()))

    def until_killed(self) -> None:
        """Live until the limit."""
        while self.rss_bytes() < LIMIT.limit_bytes:
            self.live(60)


def logged(telemetry: InMemoryTelemetry) -> list[Any]:
    return [record.log_record for record in telemetry.logs()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def leaking(t_s: float) -> float:
    return 100 + 60 * t_s / 3600


DIAGNOSIS = Diagnosis(
    "",
    0.0,
    "python",
    (Suspect("shop.Session", "shop.cache:_sessions", "", 59.0 * MB, 4321.0, 0.97),),
)


def test_the_diagnosis_goes_out_again_under_the_incidents_id(
    telemetry: InMemoryTelemetry, path: Path
) -> None:
    """At 95 % of the limit: who leaks, how much is left, as an error, flushed, and in the file."""
    process = Process(leaking, telemetry, path)
    process.live(5 * 3600)
    leak = next(alert for alert in process.heard if alert.event == "memleak.leak")
    process.engine._responder._tell_diagnosis(DIAGNOSIS._replace(alert_id=leak.id))
    assert process.flushes == []

    process.until_killed()

    last = logged(telemetry)[-1]
    assert last.event_name == "memleak.diagnosis"
    assert last.severity_number.value == 17
    assert last.attributes["memleak.alert.id"] == leak.id
    assert last.attributes["memleak.suspect.owner"] == ("shop.cache:_sessions",)
    assert last.body.startswith("RSS is 486 MB, 95 % of the limit of 512 MB; growing 60")
    assert "held by shop.cache:_sessions" in last.body
    assert len(process.flushes) == 1
    document = read(str(path))
    assert document is not None
    assert document.last_words is not None
    assert "held by shop.cache:_sessions" in document.last_words.sentence


def test_a_leak_without_a_diagnosis_is_told_once_more(telemetry: InMemoryTelemetry, path: Path) -> None:
    """`memleak.leak`, critical, same id, with the figures of this moment; counted like every alert."""
    process = Process(leaking, telemetry, path)

    process.until_killed()

    leaks = [record for record in logged(telemetry) if record.event_name == "memleak.leak"]
    last = leaks[-1]
    assert last.attributes["memleak.alert.severity"] == "critical"
    assert last.attributes["memleak.alert.id"] == leaks[0].attributes["memleak.alert.id"]
    assert 0.95 <= last.attributes["memleak.process.rss"] / LIMIT.limit_bytes < 0.96
    assert last.body.startswith("RSS is 486 MB, 95 %")
    assert sum(process.engine.alert_counts.values()) == len(
        [r for r in logged(telemetry) if r.event_name in ("memleak.leak", "memleak.rss")]
    )
    assert len(process.flushes) == 1


def test_where_nothing_is_known_nothing_is_said_twice(telemetry: InMemoryTelemetry, path: Path) -> None:
    """A burst to the limit is told by `memleak.rss`; what is left to do is to have it sent now."""
    process = Process(lambda t: 100 if t < 7200 else 500, telemetry, path)

    process.live(7600)

    assert [record.event_name for record in logged(telemetry)] == ["memleak.rss"]
    assert len(process.flushes) == 1
    document = read(str(path))
    assert document is not None
    assert document.last_words is not None
    assert document.last_words.sentence == "RSS is 500 MB, 97 % of the limit of 512 MB"


def test_what_was_resolved_is_not_brought_up_again(telemetry: InMemoryTelemetry, path: Path) -> None:
    """An old leak that has ended explains nothing."""

    def then_steady_then_burst(t_s: float) -> float:
        if t_s < 5 * 3600:
            return leaking(t_s)
        return 200 if t_s < 30 * 3600 else 500

    process = Process(then_steady_then_burst, telemetry, path)
    process.live(29 * 3600)
    assert process.heard[-1].event == "memleak.resolved"

    process.live(2 * 3600)

    assert [record.event_name for record in logged(telemetry)][-1] == "memleak.rss"
    assert len(process.flushes) == 1


def test_a_state_file_is_no_condition(telemetry: InMemoryTelemetry, path: Path) -> None:
    """Last words go out whether or not anything is kept."""
    process = Process(leaking, telemetry, path)
    process.engine._keeper = process.engine._responder._have_epilogue()._keeper = None

    process.until_killed()

    assert len(process.flushes) == 1
    assert logged(telemetry)[-1].body.startswith("RSS is 486 MB")
    process.keeper.stop()


def test_a_second_process_takes_over_from_the_one_that_was_killed(
    telemetry: InMemoryTelemetry, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Same incident, `leaking` from the second sample on, and one line in the log says what was said."""
    first = Process(leaking, telemetry, path)
    first.until_killed()
    incident = next(alert.id for alert in first.heard if alert.event == "memleak.leak")
    assert first.keeper._slot is not None
    first.keeper._slot.release()  # as the kernel does
    caplog.clear()

    second = Process(lambda t: 100, telemetry, path)
    second.clock.advance(9 * 3600)
    second.live(120)

    assert second.engine.status is not None
    assert second.engine.status.state == "leaking"
    assert second.engine.status.baseline_bytes == pytest.approx(100 * MB, rel=0.05)
    told = [record.message for record in caplog.records]
    assert len(told) == 1
    assert f"incident {incident}" in told[0]
    assert "its last words, at 2023-11-15T04:39:43Z: RSS is 486 MB" in told[0]

    second.live(12 * 3600)
    assert [(alert.event, alert.id) for alert in second.heard if alert.reason != "rss"] == [
        ("memleak.resolved", incident)
    ]
    second.keeper.stop()


def test_an_export_that_fails_at_the_last_moment_is_counted(
    telemetry: InMemoryTelemetry, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampling goes on; the process may yet live."""
    monkeypatch.setattr(guard_module, "reraise", False)
    process = Process(leaking, telemetry, path)

    def broken(timeout_ms: int) -> None:
        raise MemoryError

    process.alerts.flush = broken  # type: ignore[method-assign]
    process.until_killed()

    assert process.guard.errors == 1
    document = read(str(path))
    assert document is not None
    assert document.last_words is not None
    process.keeper.stop()
