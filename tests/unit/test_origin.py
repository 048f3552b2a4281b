"""Which kind of memory grew, from numbers alone."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_memleak.diagnosis.origin import Witness, classify_origin

MB = 1024 * 1024
BASE = {
    "rss_bytes": 100 * MB,
    "file_bytes": 20 * MB,
    "shared_bytes": 0,
    "swapped_bytes": 0,
    "malloc_in_use_bytes": 30 * MB,
    "malloc_kept_bytes": 2 * MB,
    "allocated_blocks": 300_000,
    "peak_blocks": 300_000,
    "threads": 1,
}


def _series(readings: int = 12, **growth: Any) -> list[Witness]:
    """Readings that start at a typical process and grow by that much in all, linearly."""
    steps = readings - 1
    series: list[Witness] = []
    for step in range(readings):
        values = {name: BASE.get(name, 0) + by * step // steps for name, by in growth.items()}
        series.append(Witness(time_s=60.0 * step, **{**BASE, **values}))
    return series


def _without(series: list[Witness], *names: str) -> list[Witness]:
    return [witness._replace(**dict.fromkeys(names)) for witness in series]


def test_blocks_that_grow_with_the_arenas_are_python() -> None:
    """Small objects live outside malloc and each is a block."""
    verdict = classify_origin(_series(rss_bytes=30 * MB, allocated_blocks=300_000, peak_blocks=300_000))

    assert (verdict.origin, round(verdict.share, 2)) == ("python", 1.0)


def test_malloc_that_grows_with_blocks_is_python() -> None:
    """Objects above 512 bytes come from malloc, and are blocks too."""
    growth = {"rss_bytes": 30 * MB, "malloc_in_use_bytes": 30 * MB}

    verdict = classify_origin(_series(**growth, allocated_blocks=30_000, peak_blocks=30_000))

    assert verdict.origin == "python"


def test_malloc_that_grows_without_blocks_is_native() -> None:
    """C code that takes from malloc itself makes no blocks; a few hundred of them are other things."""
    verdict = classify_origin(
        _series(rss_bytes=30 * MB, malloc_in_use_bytes=30 * MB, allocated_blocks=300, peak_blocks=300)
    )

    assert verdict.origin == "native"
    assert "in use in malloc" in verdict.advice


def test_native_memory_under_wrappers_that_a_census_has_seen_is_native() -> None:
    """A wrapper of 60 bytes with 400 bytes of malloc under it: where its size is known, the rest is not its own."""
    growth = {"rss_bytes": 30 * MB, "malloc_in_use_bytes": 22 * MB}
    series = _series(**growth, allocated_blocks=120_000, peak_blocks=120_000)

    assert classify_origin(series, held_growth_bytes=4 * MB, held_growth_count=60_000).origin == "native"
    assert classify_origin(series, held_growth_bytes=4 * MB, held_growth_count=6_000).origin == "python"
    assert classify_origin(series, held_growth_bytes=26 * MB, held_growth_count=60_000).origin == "python"


def test_growth_in_neither_allocator_is_native_and_says_mapped() -> None:
    """mmap, thread stacks and foreign runtimes are seen by neither witness."""
    verdict = classify_origin(_series(rss_bytes=30 * MB, threads=40))

    assert verdict.origin == "native"
    assert "the stacks of 40 new threads" in verdict.advice or "new threads" in verdict.advice


def test_freed_memory_that_malloc_keeps_is_fragmentation() -> None:
    """The RSS grows, nothing is in use: the knob has to be turned, not the code searched."""
    verdict = classify_origin(_series(rss_bytes=30 * MB, malloc_kept_bytes=30 * MB))

    assert verdict.origin == "fragmentation"
    assert "MALLOC_TRIM_THRESHOLD_" in verdict.advice
    assert "MALLOC_ARENA_MAX" not in verdict.advice, "useless in a process with one thread"


def test_with_threads_the_arena_cap_is_the_first_knob() -> None:
    """Arenas are opened by threads: with several, their cap comes first."""
    series = [w._replace(threads=9) for w in _series(rss_bytes=9 * MB, malloc_kept_bytes=9 * MB)]

    assert "keeps: MALLOC_ARENA_MAX=2," in classify_origin(series).advice


def test_arenas_that_ever_larger_bursts_filled_are_fragmentation() -> None:
    """Blocks that peak higher and higher and come back leave arenas behind that survivors pin."""
    verdict = classify_origin(_series(rss_bytes=30 * MB, peak_blocks=400_000))

    assert verdict.origin == "fragmentation"
    assert "arenas of Python's allocator" in verdict.advice


def test_pages_of_mapped_files_are_not_a_leak() -> None:
    """Page cache counts as resident; accusing it sends people looking for nothing."""
    verdict = classify_origin(_series(rss_bytes=30 * MB, file_bytes=28 * MB))

    assert (verdict.origin, verdict.share) == ("unknown", 0.0)
    assert "93 % of the growth is pages of mapped files: page cache, not a leak" in verdict.advice


def test_shared_memory_is_named() -> None:
    """Shared files (tmpfs) and shared mappings are in no allocator; the advice has to say where to look."""
    verdict = classify_origin(_series(rss_bytes=30 * MB, shared_bytes=30 * MB))

    assert verdict.origin == "native"
    assert "shared memory" in verdict.advice


def test_what_went_to_swap_still_counts() -> None:
    """A leak that is swapped out is no smaller for it."""
    growth = {"rss_bytes": 0, "swapped_bytes": 30 * MB}

    verdict = classify_origin(_series(**growth, allocated_blocks=300_000, peak_blocks=300_000))

    assert verdict.origin == "python"
    assert verdict.growth_bytes == pytest.approx(30 * MB, rel=0.4)


def test_a_warm_up_does_not_pass_a_native_leak_off_as_python() -> None:
    """Blocks of a cache that fills for a while must not account for what malloc loses all the time."""
    series = [
        witness._replace(allocated_blocks=300_000 + min(step, 8) * 1000)
        for step, witness in enumerate(_series(48, rss_bytes=40 * MB, malloc_in_use_bytes=40 * MB))
    ]

    assert classify_origin(series).origin == "native"


def test_blocks_that_only_fluctuate_rarely_account_for_anything() -> None:
    """A few thousand blocks more, in a count that swings by as many, are no evidence: 7 in 8 times."""
    steady = _series(48, rss_bytes=9 * MB, malloc_in_use_bytes=9 * MB)
    origins: list[str] = []
    for seed in range(100):
        swing = random.Random(seed)
        noisy = [w._replace(allocated_blocks=300_000 + swing.randrange(9000)) for w in steady]
        origins.append(classify_origin(noisy).origin)

    assert origins.count("native") >= 87


def test_larger_objects_are_seen_under_the_sawtooth_of_an_export_queue() -> None:
    """Spans that wait for export are 14,000 blocks more, then none: only the course matters."""
    series = [
        witness._replace(allocated_blocks=300_000 + 70 * step + 2800 * (step * 3 % 5))
        for step, witness in enumerate(_series(64, rss_bytes=18 * MB, malloc_in_use_bytes=18 * MB))
    ]

    assert classify_origin(series).origin == "python"


def test_work_in_progress_at_the_end_is_not_growth() -> None:
    """The last readings may fall into a burst; the lower envelope does not."""
    series = _series(12, rss_bytes=0)
    series[-1] = series[-1]._replace(rss_bytes=400 * MB, allocated_blocks=3_000_000)

    assert classify_origin(series).origin == "unknown"


def _busy(seconds: int, blocks_per_s: float, *, loaded: int = 0) -> list[Witness]:
    """300 KB/s into malloc, a span queue of 7,000 blocks that fills and empties, malloc read now and then."""
    series: list[Witness] = []
    for step in range(4 * seconds):
        time_s = step / 4
        grown = int(300_000 * time_s)
        blocks = 200_000 + int(blocks_per_s * time_s) + 1200 * (step * 7 % 6) + loaded * (step > 2 * seconds)
        series.append(
            Witness(
                time_s,
                50 * MB + grown,
                0,
                0,
                0,
                10 * MB + grown if step % 5 == 0 else None,
                0,
                blocks,
                blocks,
            )
        )
    return series


@pytest.mark.parametrize(
    ("blocks_per_s", "loaded", "origin"), [(0.0, 0, "native"), (0.0, 7000, "native"), (72.0, 0, "python")]
)
@pytest.mark.parametrize("seconds", [25, 50])
def test_blocks_must_come_steadily_to_account_for_malloc(
    blocks_per_s: float, loaded: int, origin: str, seconds: int
) -> None:
    """Modules loaded on the way are thousands of blocks at once; arrays that are lost, one for every 4 KB."""
    assert classify_origin(_busy(seconds, blocks_per_s, loaded=loaded)).origin == origin


def test_large_objects_need_a_census_to_be_told_from_native_memory() -> None:
    """100 KB values make too few blocks; what containers are known to hold settles it."""
    series = _series(rss_bytes=30 * MB, malloc_in_use_bytes=30 * MB, allocated_blocks=300, peak_blocks=300)

    assert classify_origin(series).origin == "native"
    assert classify_origin(series, held_growth_bytes=20 * MB).origin == "python"


@pytest.mark.parametrize(("traced_bytes", "origin"), [(20 * MB, "python"), (MB, "native")])
def test_tracing_speaks_both_ways(traced_bytes: int, origin: str) -> None:
    """Tracing sees all that Python allocates: what it does not see is native, blocks or not."""
    series = _series(
        rss_bytes=20 * MB, malloc_in_use_bytes=18 * MB, allocated_blocks=70_000, peak_blocks=70_000
    )

    assert classify_origin(series, traced_growth_bytes=traced_bytes).origin == origin


def test_the_tables_of_tracing_are_not_taken_for_a_native_leak() -> None:
    """With tracemalloc on, its own tables grow in malloc beside the small objects they are about."""
    growth = {"rss_bytes": 30 * MB, "traced_bytes": 14 * MB, "allocated_blocks": 260_000}
    tables = {"tracing_bytes": 16 * MB, "malloc_in_use_bytes": 16 * MB}

    verdict = classify_origin(_series(**growth, **tables, peak_blocks=260_000))

    assert (verdict.origin, round(verdict.share, 1)) == ("python", 1.0)


def test_a_tracing_window_within_the_incident_is_not_evidence_about_all_of_it() -> None:
    """Short windows switch tracing on for seconds: little grew in those, which proves nothing."""
    series = _series(rss_bytes=30 * MB, allocated_blocks=300_000, peak_blocks=300_000)
    series[5:8] = [w._replace(traced_bytes=1000, tracing_bytes=1000) for w in series[5:8]]

    assert classify_origin(series).origin == "python"


def test_without_malloc_blocks_alone_decide() -> None:
    """musl, macOS and jemalloc leave only the blocks: enough of them are Python, too few say nothing."""
    blind = ("malloc_in_use_bytes", "malloc_kept_bytes")
    many = _without(_series(rss_bytes=30 * MB, allocated_blocks=100_000, peak_blocks=100_000), *blind)
    few = _without(_series(rss_bytes=30 * MB, allocated_blocks=100, peak_blocks=100), *blind)

    assert classify_origin(many).origin == "python"
    assert classify_origin(few).origin == "unknown"


def test_a_mixture_is_unknown_and_names_its_parts() -> None:
    """No origin explains half of it: nobody is accused, and the parts are told."""
    growth = {"rss_bytes": 30 * MB, "malloc_in_use_bytes": 10 * MB, "malloc_kept_bytes": 10 * MB}

    verdict = classify_origin(
        _series(**growth, allocated_blocks=50_000, peak_blocks=50_000, file_bytes=10 * MB)
    )

    assert (verdict.origin, verdict.share) == ("unknown", 0.0)
    assert verdict.advice == "no single origin: Python 33 %, freed but kept 33 %, file pages 33 %"


@pytest.mark.parametrize("series", [[], [Witness(0.0)], [Witness(0.0), Witness(1.0)], _series(rss_bytes=-MB)])
def test_nothing_to_judge_is_unknown(series: list[Witness]) -> None:
    """No readings, no growth: no claim."""
    verdict = classify_origin(series)

    assert (verdict.origin, verdict.share, verdict.advice) == ("unknown", 0.0, "")


def test_two_readings_are_enough() -> None:
    """The first look comes early, when there may be no more than two."""
    series = _series(2, rss_bytes=30 * MB, allocated_blocks=300_000, peak_blocks=300_000)

    assert classify_origin(series).origin == "python"


_READING = st.none() | st.integers(min_value=0, max_value=1 << 40)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Witness,
            time_s=st.floats(allow_nan=False, allow_infinity=False),
            **dict.fromkeys(Witness._fields[1:], _READING),
        ),
        max_size=20,
    ),
    st.none() | st.floats(min_value=-1e12, max_value=1e12),
    st.none() | st.floats(min_value=-1e12, max_value=1e12),
)
def test_parts_never_exceed_the_whole(
    witnesses: list[Witness], held: float | None, traced: float | None
) -> None:
    """Whatever the witnesses say, no part is negative and together they are no more than grew."""
    verdict = classify_origin(witnesses, held_growth_bytes=held, traced_growth_bytes=traced)

    parts = dataclasses.astuple(verdict.parts)
    slack = 1e-6 * verdict.growth_bytes
    assert min(parts) >= -slack
    assert sum(parts) <= verdict.growth_bytes + slack
    assert 0.0 <= verdict.share <= 1.0
    assert (verdict.origin == "unknown") == (verdict.share == 0.0)


@pytest.mark.parametrize(
    "kind",
    [
        lambda: _series(rss_bytes=30 * MB, allocated_blocks=300_000, peak_blocks=300_000),
        lambda: _series(rss_bytes=30 * MB, malloc_in_use_bytes=30 * MB),
        lambda: _series(rss_bytes=30 * MB, malloc_kept_bytes=30 * MB),
    ],
)
@settings(deadline=None)
@given(offset_mb=st.integers(min_value=0, max_value=10_000))
def test_the_size_of_the_process_does_not_matter(kind: Callable[[], list[Witness]], offset_mb: int) -> None:
    """Only growth is judged: the same leak in a larger process has the same origin."""
    larger = [witness._replace(rss_bytes=(witness.rss_bytes or 0) + offset_mb * MB) for witness in kind()]

    assert classify_origin(larger) == classify_origin(kind())
