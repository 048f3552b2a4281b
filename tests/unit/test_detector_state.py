"""What a detector hands on: lives add up, an incident goes on or ends, and nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_memleak.detector import LeakDetector
from otel_memleak.types import MB, LeakAlert
from property.strategies import HOUR, START, Shape, linear, numbered, sampled

LIMIT_BYTES = 2048 * MB


class Service:
    """A process that is restarted again and again; what its detectors said."""

    def __init__(self, *, keeps: bool = True, patience_s: float | None = None) -> None:
        self.keeps = keeps
        self.patience_s = patience_s
        self.alerts: list[LeakAlert] = []
        self.detector = LeakDetector(LIMIT_BYTES)
        self._now_s = 0.0
        self._ids = numbered()

    def live(self, shape: Shape, hours: float, seed: int = 1) -> None:
        """One life; through JSON, as in a file."""
        state = json.loads(json.dumps(self.detector.export_state()))
        self.detector = LeakDetector(LIMIT_BYTES, id_factory=self._ids, patience_seconds=self.patience_s)
        if self.keeps and self._now_s:
            self.detector.restore_state(state)
        for time_s, rss_bytes in sampled(shape, hours, noise_mb=0.3, seed=seed):
            alert = self.detector.update(time_s + self._now_s, rss_bytes)
            if alert is not None:
                self.alerts.append(alert)
        self._now_s += hours * HOUR + 60.0

    def said(self) -> list[tuple[str, str]]:
        return [(alert.event, alert.id) for alert in self.alerts]


LEAKING = linear(200, 40)
STEADY = linear(200, 0)


def warming_up(t_h: float) -> float:
    """Half of the rise within the first hour, never quite done."""
    return 200 + 120 * (1 - 2**-t_h)


def test_a_leak_that_restarts_hide_is_found_from_its_lives() -> None:
    """Two hours are too short for a verdict; five lives of two hours that all grow alike are not."""
    hidden, kept = Service(keeps=False), Service()
    for life in range(6):
        hidden.live(LEAKING, 2, seed=life)
        kept.live(LEAKING, 2, seed=life)

    assert hidden.alerts == []
    assert [event for event, _ in kept.said()] == ["memleak.leak"]
    assert kept.alerts[0].growth_bytes_per_hour == pytest.approx(40 * MB, rel=0.05)
    assert "in earlier lives" in kept.alerts[0].why


@pytest.mark.parametrize("shape", [STEADY, warming_up], ids=["steady", "warming up"])
def test_lives_of_a_healthy_process_do_not_add_up(shape: Shape) -> None:
    """Every process grows when it starts, also twelve times in a row."""
    service = Service()
    for life in range(12):
        service.live(shape, 2, seed=life)

    assert service.alerts == []


def test_small_rises_of_many_lives_are_one_that_is_not_small() -> None:
    """A patience that was set is prolonged for a rise of a twentieth; three such in a row are worth telling."""
    service = Service(patience_s=3 * HOUR)
    for life in range(6):
        service.live(linear(200, 5), 2, seed=life)

    assert [event for event, _ in service.said()] == ["memleak.leak"]
    assert service.alerts[0].growth_bytes_per_hour == pytest.approx(5 * MB, rel=0.1)


def test_a_life_without_growth_ends_the_series() -> None:
    """A leak that was fixed in between is another leak when there is one again."""
    service = Service()
    for life in range(10):
        service.live(LEAKING if life % 2 else STEADY, 2, seed=life)

    assert service.alerts == []


def test_lives_that_are_too_short_to_tell_are_passed_over() -> None:
    """A crash loop during a deployment must not make a process forget."""
    service = Service()
    for life in range(6):
        service.live(LEAKING, 2, seed=life)
        service.live(LEAKING, 0.05, seed=life)

    assert [event for event, _ in service.said()] == ["memleak.leak"]


def test_an_open_incident_goes_on_under_its_id_and_is_not_said_again() -> None:
    """One incident, one id, however often the process is restarted meanwhile."""
    service = Service()
    service.live(LEAKING, 12)
    first = service.said()
    assert first == [("memleak.leak", "incident-1")]

    for life in range(3):
        service.live(LEAKING, 6, seed=life)
        assert service.detector.state == "leaking"

    assert service.said() == first


def test_an_open_incident_is_resolved_when_the_growth_does_not_come_back() -> None:
    """The fix is deployed: under the same id, and only after so long that growth would have been seen."""
    service = Service()
    service.live(LEAKING, 12)

    service.live(STEADY, 1)
    assert service.detector.state == "leaking"
    service.live(STEADY, 12)

    assert service.said() == [("memleak.leak", "incident-1"), ("memleak.resolved", "incident-1")]
    assert service.detector.state == "stable"


def test_an_open_incident_is_resolved_from_lives_that_are_short_each() -> None:
    """Workers that live for two hours: none of them could wait for ten."""
    service = Service()
    service.live(LEAKING, 12)

    for life in range(8):
        service.live(STEADY, 2, seed=life)

    assert service.said() == [("memleak.leak", "incident-1"), ("memleak.resolved", "incident-1")]


def test_slower_growth_does_not_end_an_incident_of_short_lives() -> None:
    """Less, and ever less within a life: not what a fix looks like, and it would open another incident."""

    def slowing_down(t_h: float) -> float:
        return 200 + 40 * min(t_h, 0.8) + 15 * max(0.0, t_h - 0.8)

    service = Service()
    service.live(LEAKING, 12)
    for life in range(6):
        service.live(slowing_down, 2, seed=life)

    assert service.said() == [("memleak.leak", "incident-1")]
    assert service.detector.state == "leaking"


def test_an_incident_keeps_the_time_it_began() -> None:
    """Since when it leaks is a question about the incident, not about the process."""
    service = Service()
    service.live(LEAKING, 12)
    since_s = _leak(service)["since_s"]

    service.live(LEAKING, 6)

    assert _leak(service)["since_s"] == since_s <= START + HOUR


def test_crossing_a_threshold_is_over_after_a_restart() -> None:
    """Resident memory is low again: the incident ends, instead of staying open for ever."""
    service = Service()
    service.live(linear(1900, 0), 1)
    assert service.said() == [("memleak.rss", "incident-1")]

    service.live(STEADY, 0.1)

    assert service.said() == [("memleak.rss", "incident-1"), ("memleak.resolved", "incident-1")]


def test_the_baseline_is_known_at_once() -> None:
    """A restart is no reason not to know what is normal."""
    service = Service()
    service.live(STEADY, 1)
    baseline = service.detector.baseline_bytes

    service.live(linear(150, 0), 0)

    assert service.detector.baseline_bytes == baseline


def test_an_incident_survives_more_lives_than_are_remembered() -> None:
    """The lines are bounded; what is open is not one of them."""
    service = Service()
    service.live(LEAKING, 12)
    for life in range(40):
        service.live(LEAKING, 0.5, seed=life)

    state: Any = service.detector.export_state()
    assert len(state["lives"]) == 32
    assert _leak(service)["id"] == "incident-1"
    assert len(json.dumps(state)) < 16_384


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("time_s",), "now"),
        (("time_s",), float("nan")),
        (("time_s",), True),
        (("baseline_bytes",), -1),
        (("baseline_bytes",), 10**400),
        (("lives",), {}),
        (("lives",), [None]),
        (("life", "slope"), None),
        (("life", "duration_s"), float("inf")),
        (("leak", "id"), ""),
        (("leak", "id"), "x" * 129),
        (("leak", "id"), "a\x1b[2Jb"),
        (("leak", "severity"), "fatal"),
        (("leak", "slope"), -1.0),
        (("surprise",), 1),
    ],
)
def test_a_state_that_is_not_one_is_refused_as_a_whole(path: tuple[str, ...], value: object) -> None:
    """It comes from a file: every field is checked, and a half of it is never taken over."""
    service = Service()
    service.live(LEAKING, 12)
    state: Any = service.detector.export_state()
    at = state
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    fresh = LeakDetector(LIMIT_BYTES)

    with pytest.raises(ValueError, match=r"\w"):
        fresh.restore_state(state)

    assert fresh.state == "warming_up"
    assert fresh.baseline_bytes is None


def test_more_lives_than_are_ever_written_are_refused() -> None:
    """Nothing in a file decides how much memory is used."""
    service = Service()
    service.live(LEAKING, 2)
    state: Any = service.detector.export_state()
    state["lives"] = [state["life"]] * 33

    with pytest.raises(ValueError, match="more than 32"):
        LeakDetector().restore_state(state)


def _leak(service: Service) -> Any:
    return service.detector.export_state()["leak"]
