"""One incident, one identity; nothing said twice, nothing that stays true lost."""

from __future__ import annotations

import pytest

from otel_memleak.detector._incidents import Incident
from otel_memleak.types import MB
from property.strategies import START, Shape, fed, first_leak, linear, numbered, quiet, sampled


def events(alerts: list[object]) -> list[tuple[str, str]]:
    return [(a.event, a.id) for a in alerts]  # type: ignore[attr-defined]


def test_an_ongoing_leak_is_said_once() -> None:
    """A leak that goes on for days is one incident and one alert, not one an hour."""
    assert events(fed(quiet(), sampled(linear(150, 5), 96.0))) == [("memleak.leak", "incident-1")]


def test_a_leak_that_ends_is_resolved() -> None:
    """When growth ends, that is said once, as the same incident, with its severity and rate."""
    shape: Shape = lambda hour: 150 + 60.0 * min(hour, 10.0)  # noqa: E731
    leak, resolved = fed(quiet(2000.0), sampled(shape, 48.0, noise_mb=0.2))

    assert (leak.event, resolved.event) == ("memleak.leak", "memleak.resolved")
    assert (resolved.id, resolved.severity) == (leak.id, leak.severity)
    assert resolved.growth_bytes_per_hour is not None
    assert resolved.growth_bytes_per_hour < 12 * MB
    assert resolved.time_to_limit_s is None
    assert "ended" in resolved.why


def test_memory_that_comes_back_resolves() -> None:
    """When most of what was taken is given back, the leak is over at once, not after a window."""
    shape: Shape = lambda hour: 150 + (5.0 * hour if hour < 30.0 else 10.0)  # noqa: E731
    alerts = fed(quiet(), sampled(shape, 40.0))

    assert events(alerts) == [("memleak.leak", "incident-1"), ("memleak.resolved", "incident-1")]
    assert alerts[1].time_s - START < 33.5 * 3600.0
    assert "came back" in alerts[1].why


def test_a_restart_resolves() -> None:
    """A new life owes nothing to the old one."""
    shape: Shape = lambda hour: 150 + 5.0 * hour if hour < 30.0 else 70.0  # noqa: E731
    alerts = fed(quiet(), sampled(shape, 31.0))

    assert events(alerts) == [("memleak.leak", "incident-1"), ("memleak.resolved", "incident-1")]
    assert "restarted" in alerts[1].why


def test_the_leak_goes_before_the_threshold() -> None:
    """When one sample gives two alerts, the leak comes first and the other with the next sample."""
    detector = quiet(rss_warning_bytes=100 * MB)
    samples = sampled(linear(150, 5), 30.0)
    detector.limit_bytes = None
    seen = [(i, a.event) for i, s in enumerate(samples) if (a := detector.update(*s)) is not None]
    at = {event: i for i, event in seen}
    held = quiet(rss_warning_bytes=samples[at["memleak.leak"]][1])
    both = [(i, a.event) for i, s in enumerate(samples) if (a := held.update(*s)) is not None]

    assert both == [(at["memleak.leak"], "memleak.leak"), (at["memleak.leak"] + 1, "memleak.rss")]


def test_identities_are_unique() -> None:
    """Without a factory of one's own, no two detectors share an identity."""
    ids = {first_leak(quiet(id_factory=None), sampled(linear(150, 5), 24.0)).id for _ in range(3)}

    assert len(ids) == 3


@pytest.fixture
def incident() -> Incident:
    """An incident with an hour between two of a kind."""
    return Incident(numbered(), 3600.0)


def test_reopened_soon_it_is_the_same(incident: Incident) -> None:
    """Coming back within the time given it keeps its identity; later it is another."""
    incident.raise_to("warning", 0.0, 100.0)
    incident.end(10.0)
    incident.raise_to("warning", 110.0, 100.0)
    assert incident.id == "incident-1"
    incident.end(120.0)
    incident.raise_to("warning", 221.0, 100.0)
    assert incident.id == "incident-2"


def test_what_the_throttle_held_back_is_said_when_it_still_holds(incident: Incident) -> None:
    """Nothing that stays true is lost to the throttle."""
    incident.raise_to("warning", 0.0, 1e9)
    assert incident.announce(0.0) == "warning"
    incident.end(10.0)
    assert incident.announce(10.0) == "quiet"
    incident.raise_to("warning", 20.0, 1e9)
    assert incident.announce(20.0) is None
    assert incident.announce(3599.0) is None
    assert incident.announce(3600.0) == "warning"
    assert incident.announce(3601.0) is None


def test_what_has_passed_is_not_said_late(incident: Incident) -> None:
    """What the throttle held back and is no longer true is not said at all."""
    incident.raise_to("warning", 0.0, 1e9)
    incident.announce(0.0)
    incident.end(1.0)
    incident.announce(1.0)
    incident.raise_to("warning", 2.0, 1e9)
    incident.end(3.0)

    assert incident.announce(4000.0) is None


def test_an_open_incident_never_gets_milder(incident: Incident) -> None:
    """Critical stays critical until it is over, and is remembered when it is."""
    incident.raise_to("critical", 0.0, 1e9)
    incident.raise_to("warning", 1.0, 1e9)
    assert incident.announce(1.0) == "critical"
    incident.end(2.0)
    assert incident.announce(2.0) == "quiet"
    assert incident.worst == "critical"
