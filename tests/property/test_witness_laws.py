"""What witnesses may change about a verdict, and what not."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_memleak.types import MB
from property.strategies import Samples, innocent, junk, leaking, leaks, quiet

few = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
either = st.one_of(leaking(), innocent())

NAMES = (
    "requests",
    "malloc_in_use_bytes",
    "malloc_kept_bytes",
    "allocated_blocks",
    "file_bytes",
    "swapped_bytes",
    "threads",
    "asyncio_tasks",
    "cache_entries",
    "cache_room",
    "modules",
)
garbage = st.one_of(junk, st.text(max_size=2), st.floats(max_value=-1e-9), st.just([1, 2]), st.just(object()))
subject = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, garbage.filter(lambda value: value != 0.0)))


@few
@given(either, st.lists(subject, min_size=1, max_size=5))
def test_witnesses_that_say_nothing_change_nothing(samples: Samples, said: list[dict[str, object]]) -> None:
    """None, NaN and nonsense are silence: every alert is the same to the last bit."""
    with_them, without = quiet(3000.0), quiet(3000.0)
    for i, (time_s, rss_bytes) in enumerate(samples):
        heard = with_them.update(time_s, rss_bytes, **said[i % len(said)])  # type: ignore[arg-type]
        assert heard == without.update(time_s, rss_bytes)
        assert with_them.state == without.state
        assert with_them.baseline_bytes == without.baseline_bytes


@few
@given(either, st.sampled_from(NAMES[1:6]), st.floats(0.0, 1e9))
def test_a_witness_that_stands_still_moves_no_bytes(samples: Samples, name: str, level: float) -> None:
    """Only changes count: a constant share of files or free lists leaves the growth as it is."""
    with_it, without = quiet(4000.0), quiet(4000.0)
    for time_s, rss_bytes in samples:
        with_it.update(time_s, rss_bytes, **{name: level})
        without.update(time_s, rss_bytes)

    if name not in ("malloc_in_use_bytes", "allocated_blocks"):
        assert math.isclose(
            with_it.growth_bytes_per_hour, without.growth_bytes_per_hour, rel_tol=1e-6, abs_tol=1.0
        )


@few
@given(leaking(), st.sampled_from(["file_bytes", "malloc_kept_bytes"]))
def test_growth_that_is_nobody_s_is_no_leak(samples: Samples, name: str) -> None:
    """Whatever the size and the rate of the process."""
    detector, first = quiet(), samples[0][1]
    said = [
        detector.update(time_s, rss_bytes, **{name: 10.0 * MB + max(0.0, rss_bytes - first)})
        for time_s, rss_bytes in samples
    ]

    assert leaks([alert for alert in said if alert is not None]) == []


@few
@given(leaking(), st.floats(0.0, 1.0))
def test_it_does_not_matter_how_much_of_a_leak_is_in_swap(samples: Samples, share: float) -> None:
    """Resident or swapped out, what is held is the sum."""
    swapping, plain = quiet(), quiet()
    first = samples[0][1]
    heard = []
    for time_s, rss_bytes in samples:
        out = share * max(0.0, rss_bytes - first)
        heard.append(
            (
                swapping.update(time_s, rss_bytes - out, swapped_bytes=out),
                plain.update(time_s, rss_bytes),
            )
        )

    told = [[alert.time_s for alert in side if alert is not None] for side in zip(*heard, strict=True)]
    assert told[0] == told[1]


@few
@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 1e7),
            st.floats(1.0, 2.0**45),
            st.lists(
                st.one_of(st.none(), st.floats(0.0, 2.0**45), st.floats()),
                min_size=len(NAMES),
                max_size=len(NAMES),
            ),
        ),
        max_size=200,
    )
)
def test_wild_witnesses_give_finite_figures(said: list[tuple[float, float, list[float | None]]]) -> None:
    """No series of witnesses leads to an error, or to a rate that is not a number."""
    detector = quiet(1000.0, baseline_window_seconds=1.0, sampling_interval_seconds=1.0, patience_seconds=1.0)
    for time_s, rss_bytes, values in sorted(said, key=lambda one: one[0]):
        alert = detector.update(time_s, rss_bytes, **dict(zip(NAMES, values, strict=True)))
        assert math.isfinite(detector.growth_bytes_per_hour)
        if alert is not None and alert.growth_bytes_per_request is not None:
            assert math.isfinite(alert.growth_bytes_per_request)
