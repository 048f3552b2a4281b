"""The sentence of an alert."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_memleak.messages import diagnosis_sentence, format_duration, format_mb, format_size, sentence
from otel_memleak.types import MB, Diagnosis, LeakAlert, RouteSuspect, Suspect

LEAK = LeakAlert(
    event="memleak.leak",
    id="1",
    severity="warning",
    reason="growth",
    time_s=10_000.0,
    rss_bytes=470 * MB,
    baseline_bytes=400 * MB,
    growth_bytes_per_hour=12.3 * MB,
    growth_bytes_per_hour_low=11.8 * MB,
    growth_bytes_per_hour_high=12.9 * MB,
    onset_s=10_000.0 - 42 * 60,
    limit_bytes=512 * MB,
    time_to_limit_s=3.1 * 3600,
)


def test_a_leak_says_how_fast_how_long_and_how_much_time_is_left() -> None:
    """The sentence of the contract's example, word for word as far as it is known."""
    expected = "RSS grew 12.3 MB/h for 42 min (95 % 11.8–12.9); 3.1 h to the 512 MB cgroup limit"

    assert sentence(LEAK, "cgroup") == expected


def test_a_leak_without_a_limit_says_where_it_came_from() -> None:
    """Without a limit the rise itself is the news."""
    alert = replace(LEAK, limit_bytes=None, time_to_limit_s=None)

    assert sentence(alert) == "RSS grew 12.3 MB/h for 42 min (95 % 11.8–12.9); now 470 MB from 400 MB"


def test_growth_that_goes_with_requests_is_said_per_request() -> None:
    """The rate as users think of it, beside that of the clock."""
    alert = replace(LEAK, growth_bytes_per_request=1331.0)

    assert "(95 % 11.8–12.9), 1.3 KB per request; 3.1 h" in sentence(alert, "cgroup")


def test_a_crossed_threshold_claims_no_leak() -> None:
    """An RSS alert states a fact; the word leak does not appear."""
    alert = LeakAlert(
        event="memleak.rss", id="1", severity="critical", reason="rss", time_s=0.0,
        rss_bytes=465 * MB, limit_bytes=512 * MB, threshold_bytes=460.8 * MB,
    )  # fmt: skip
    expected = "RSS is 465 MB, above the critical threshold of 461 MB; 91 % of the 512 MB cgroup limit"

    assert sentence(alert, "cgroup") == expected


def test_a_resolved_incident_says_what_ended() -> None:
    """Growth that ended and a level that was left are told apart."""
    assert sentence(replace(LEAK, event="memleak.resolved")) == "RSS no longer grows; it is 470 MB"
    rss = replace(LEAK, event="memleak.resolved", reason="rss")
    assert sentence(rss) == "RSS is back below its threshold at 470 MB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (2520, "42 min"), (11160, "3.1 h"), (86400 * 3, "3.0 d"),
     (86400 * 12, "12 d")],
)  # fmt: skip
def test_durations_are_in_their_natural_unit(seconds: float, text: str) -> None:
    """Nobody reads 259200 s."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("mb", "text"), [(0, "0"), (0.52, "0.52"), (4.8, "4.8"), (12.34, "12.3"), (512, "512"), (4812, "4,812")]
)
def test_megabytes_have_three_figures(mb: float, text: str) -> None:
    """Figures beyond the third are noise of the estimate."""
    assert format_mb(mb * MB) == text


OPTIONAL = st.none() | st.floats(0, 1e15)


@given(
    st.sampled_from(["memleak.leak", "memleak.rss", "memleak.resolved"]),
    st.lists(OPTIONAL, min_size=8, max_size=8),
)
def test_every_alert_has_a_sentence(event: str, values: list[float | None]) -> None:
    """Whatever is unknown is left out; no alert is ever without a sentence, and none says None."""
    names = [
        "baseline_bytes",
        "growth_bytes_per_hour",
        "growth_bytes_per_hour_low",
        "growth_bytes_per_hour_high",
        "onset_s",
        "limit_bytes",
        "time_to_limit_s",
        "threshold_bytes",
    ]
    alert = replace(LEAK, event=event, **dict(zip(names, values, strict=True)))  # type: ignore[arg-type]
    if alert.limit_bytes == 0:
        return

    text = sentence(alert)

    assert text.startswith("RSS")
    assert "None" not in text


def test_a_diagnosis_names_what_grows_who_holds_it_and_where_it_comes_from() -> None:
    """The sentence that ends a week of work."""
    suspect = Suspect("Session", "shop.cache:_sessions", "shop/views.py:88", 11.9 * MB, 4321.0, 0.97)
    route = RouteSuspect("GET /cart", 9830.4, 9000.0, 10000.0)

    assert diagnosis_sentence(Diagnosis("1", 0.0, "python", (suspect,), (route,))) == (
        "+4,321 Session/h, 11.9 MB/h (97 % of the growth), held by shop.cache:_sessions, "
        "allocated at shop/views.py:88; 9.6 KB per call of GET /cart"
    )


def test_bytes_of_recorded_calls_are_not_said_to_be_those_of_any_call() -> None:
    """Where a sampler cannot be listened to, a recorded call stands for others."""
    route = RouteSuspect("GET /cart", 9830.4, 9000.0, 10000.0, approximate=True)

    assert "9.6 KB per recorded call of GET /cart" in diagnosis_sentence(
        Diagnosis("1", 0.0, "python", (), (route,))
    )


def test_a_diagnosis_without_a_suspect_says_what_kind_of_memory_it_is() -> None:
    """Unknown is an answer; fragmentation comes with what to do about it."""
    advice = "try MALLOC_ARENA_MAX=2"

    assert diagnosis_sentence(Diagnosis("1", 0.0, "unknown")) == "what grows is not known"
    text = diagnosis_sentence(Diagnosis("1", 0.0, "fragmentation", advice=advice))
    assert text == "memory is free but fragmented, not leaked; try MALLOC_ARENA_MAX=2"


def test_a_leak_of_a_known_route_says_what_a_call_leaves_behind() -> None:
    """Bytes per call is how developers think of a leak."""
    route = RouteSuspect("GET /cart", 812.0, 700.0, 900.0)

    assert sentence(LEAK, "cgroup", (route,)).endswith("cgroup limit; 812 B per call of GET /cart")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (2048, "2.0 KB"), (1.5 * MB, "1.5 MB")]
)
def test_small_sizes_are_in_their_natural_unit(size: float, text: str) -> None:
    """0.00 MB per call says nothing."""
    assert format_size(size) == text
