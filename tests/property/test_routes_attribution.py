"""What attribution must not depend on."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_memleak.routes.attribution import RouteAttribution
from otel_memleak.types import RouteSuspect

Sample = tuple[float, float, dict[str, int]]

SEEDS = st.integers(0, 2**32 - 1)
NAMES = ("GET /a", "POST /b", "run/c", "GET /d")


def samples(seed: int, bytes_per_call: float = 700.0) -> list[Sample]:
    """An hour of a service in which one route leaks and memory is noisy."""
    rng = Random(seed)
    totals = dict.fromkeys(NAMES, 0)
    made: list[Sample] = []
    for minute in range(60):
        for name in NAMES:
            totals[name] += rng.randrange(100, 2000)
        noise = rng.random() * 1e5
        made.append((60.0 * minute, 1e8 + bytes_per_call * totals["run/c"] + noise, dict(totals)))
    return made


def attribute(fed: list[Sample]) -> tuple[RouteSuspect, ...]:
    attribution = RouteAttribution()
    for time_s, retained, counts in fed:
        attribution.update(time_s, retained, counts)
    return attribution.suspects()


def same(one: tuple[RouteSuspect, ...], other: tuple[RouteSuspect, ...], scale: float = 1.0) -> bool:
    return [s.route for s in one] == [s.route for s in other] and all(
        math.isclose(a.bytes_per_call * scale, b.bytes_per_call, rel_tol=1e-6)
        and math.isclose(a.bytes_per_call_high * scale, b.bytes_per_call_high, rel_tol=1e-6)
        for a, b in zip(one, other, strict=True)
    )


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_the_leaking_route_is_found_whatever_the_traffic(seed: int) -> None:
    """With traffic that varies by an order of magnitude from minute to minute there is no excuse."""
    suspects = attribute(samples(seed))

    assert [s.route for s in suspects] == ["run/c"]
    assert suspects[0].bytes_per_call == pytest.approx(700.0, rel=0.05)
    assert (
        0.0 <= suspects[0].bytes_per_call_low <= suspects[0].bytes_per_call <= suspects[0].bytes_per_call_high
    )


@given(
    SEEDS,
    st.floats(0.1, 300.0),
    st.sampled_from([0.25, 15.0, 60.0]),
    st.floats(0.0, 0.1),
    st.floats(30.0, 30_000.0),
    st.sampled_from([4096, 65_536, 1_048_576]),
    st.sampled_from([0.0, 2e4, 2e5]),
    st.integers(12, 300),
)
@settings(max_examples=100, deadline=None)
def test_of_steady_traffic_it_is_never_said_that_no_request_leaks(
    seed: int,
    calls_per_s: float,
    interval_s: float,
    late: float,
    bytes_per_call: float,
    page_bytes: int,
    noise_bytes: float,
    count: int,
) -> None:
    """Two endpoints at a steady pace, one of which leaks: time and calls cannot be told apart.

    Samples are up to a tenth of an interval late, and so are the counts, by another tenth.
    """
    rng = Random(seed)
    attribution = RouteAttribution(sampling_interval_seconds=interval_s)
    for number in range(count):
        time_s = (number + late * rng.random()) * interval_s
        calls = int(calls_per_s * time_s)
        seen = int(calls_per_s * (time_s + late * rng.random() * interval_s))
        pages = math.ceil((1e8 + bytes_per_call * calls) / page_bytes)
        level = pages * page_bytes + abs(rng.gauss(0.0, noise_bytes))
        attribution.update(time_s, level, {"GET /a": seen, "GET /b": seen // 3})

    assert attribution.verdict != "background"


@given(SEEDS, st.sampled_from([0.01, 0.5, 3.0, 1000.0]))
@settings(max_examples=15, deadline=None)
def test_scaling_bytes_scales_bytes_per_call(seed: int, scale: float) -> None:
    """The verdict is free of units."""
    fed = samples(seed)

    assert same(attribute(fed), attribute([(t, scale * b, n) for t, b, n in fed]), scale)


@given(SEEDS, st.permutations(NAMES))
@settings(max_examples=15, deadline=None)
def test_the_order_of_routes_is_irrelevant(seed: int, order: list[str]) -> None:
    """A mapping is a mapping."""
    fed = samples(seed)

    assert same(attribute(fed), attribute([(t, b, {name: n[name] for name in order}) for t, b, n in fed]))


@given(SEEDS, st.lists(st.integers(0, 10**9), min_size=4, max_size=4))
@settings(max_examples=15, deadline=None)
def test_what_was_counted_before_the_first_sample_is_irrelevant(seed: int, offsets: list[int]) -> None:
    """Totals count from any point in time: only their growth matters."""
    fed = samples(seed)
    shift = dict(zip(NAMES, offsets, strict=True))

    shifted = [(t, b, {name: total + shift[name] for name, total in n.items()}) for t, b, n in fed]

    assert same(attribute(fed), attribute(shifted))


@given(SEEDS, st.lists(st.integers(0, 59), max_size=20))
@settings(max_examples=15, deadline=None)
def test_repeated_samples_are_harmless(seed: int, repeated: list[int]) -> None:
    """A sample told twice is one sample."""
    fed = samples(seed)
    doubled = [s for i, sample in enumerate(fed) for s in [sample] * (1 + repeated.count(i))]

    assert attribute(fed) == attribute(doubled)


BAD = st.one_of(
    st.tuples(st.just(math.nan), st.just(1e8)),
    st.tuples(st.just(math.inf), st.just(1e8)),
    st.tuples(st.floats(-1e9, -1.0), st.just(5e9)),
    st.tuples(st.just(1e6), st.sampled_from([math.nan, math.inf, -math.inf, -1.0])),
)


@given(SEEDS, st.lists(st.tuples(st.integers(1, 59), BAD), max_size=10))
@settings(max_examples=15, deadline=None)
def test_nonsense_among_the_samples_is_passed_over(
    seed: int, bad: list[tuple[int, tuple[float, float]]]
) -> None:
    """No number, or a time before the last one, is as if it had not been said."""
    fed = samples(seed)
    spoilt = list(fed)
    for position, (time_s, retained) in bad:
        spoilt.insert(position, (time_s, retained, {"GET /a": 10**12}))

    assert attribute(fed) == attribute(spoilt)


@given(
    st.lists(
        st.tuples(
            st.floats(),
            st.floats(),
            st.dictionaries(st.sampled_from("abc"), st.floats(), max_size=3),
        ),
        max_size=40,
    )
)
@example([(-1e308, 0.0, {}), (1e308, 0.0, {})])
@settings(max_examples=100, deadline=None)
def test_it_never_raises(fed: list[tuple[float, float, dict[str, float]]]) -> None:
    """Whatever numbers come in, an answer comes out, and its bytes are numbers in order."""
    attribution = RouteAttribution(capacity=2)
    for time_s, retained, counts in fed:
        attribution.update(time_s, retained, counts)

    for suspect in attribution.suspects():
        assert 0.0 <= suspect.bytes_per_call_low <= suspect.bytes_per_call <= suspect.bytes_per_call_high
    assert attribution.background_bytes_per_hour >= 0.0
    assert attribution.bytes_per_request >= 0.0
