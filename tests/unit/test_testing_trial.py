"""``otel_memleak.testing``: the course of a check, on invented processes and an invented clock."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from otel_memleak.testing import LeakError, LeakVerdict, ManualClock
from otel_memleak.testing._meter import Reading
from otel_memleak.testing._steps import Calls
from otel_memleak.testing._trial import Trial
from otel_memleak.testing._verdict import Options
from otel_memleak.types import MB

Memory = Callable[[int, float], float]
"""Bytes in use in malloc after so many calls and so many seconds."""


@dataclass
class Process:
    """A process of which everything is known: what a call costs, what it leaves behind."""

    malloc: Memory = lambda calls, seconds: 0
    blocks: Memory = lambda calls, seconds: 0
    mapped: Memory = lambda calls, seconds: 0
    seconds_per_call: float = 1e-5
    clock: ManualClock = field(default_factory=ManualClock)
    calls: int = 0
    most_malloc: float = 0
    also: Callable[[int], object] = lambda calls: None

    def read(self) -> Reading:
        now = self.calls, self.clock.monotonic_s()
        malloc, blocks, mapped = self.malloc(*now), self.blocks(*now), self.mapped(*now)
        self.clock.advance(0.01)
        self.most_malloc = max(self.most_malloc, malloc)
        return round(blocks), 10**7 + round(malloc), 10**8 + round(malloc + 112 * blocks + mapped)

    def check(self, trace: bool = False, **options: float) -> LeakVerdict:
        trial = Trial(self, self.clock, Options(trace=trace, **options))  # type: ignore[arg-type]
        for step in trial.steps():
            if isinstance(step, Calls):
                self.calls += step.count
                self.also(step.count)
                self.clock.advance(step.count * self.seconds_per_call)
            else:
                self.clock.advance(step.seconds)
        assert trial.verdict is not None
        assert trial.verdict.calls == self.calls
        return trial.verdict


def filling(entries: int, size: int = 200) -> Memory:
    """A cache that takes one entry per call until it is full."""
    return lambda calls, seconds: size * min(calls, entries)


INNOCENT: dict[str, Process] = {
    "nothing": Process(),
    "warm-up of a gigabyte": Process(malloc=lambda calls, seconds: 1024 * MB * (calls > 0)),
    "imports at call 3000": Process(malloc=lambda calls, seconds: 5 * MB * (calls > 3000)),
    "cache of 100": Process(malloc=filling(100)),
    "cache of 10,000": Process(malloc=filling(10_000)),
    "cache of 10,000, one object an entry": Process(blocks=lambda calls, seconds: min(calls, 10_000)),
    "keys drawn from 3000": Process(malloc=lambda calls, seconds: 6e5 * (1 - math.exp(-calls / 3000))),
    "buffer flushed every 997": Process(malloc=lambda calls, seconds: 64 * (calls % 997)),
    "free lists": Process(malloc=lambda calls, seconds: 50_000 * math.tanh(calls / 200)),
    "slow and quiet": Process(seconds_per_call=0.05),
    "slow cache of 30": Process(malloc=filling(30), seconds_per_call=0.02),
    "arenas": Process(mapped=lambda calls, seconds: 6 * MB * math.tanh(calls / 5000)),
    "logarithm": Process(malloc=lambda calls, seconds: 2000 * math.log1p(calls)),
    "gives back": Process(malloc=lambda calls, seconds: 5e6 - 40 * calls),
}  # fmt: skip

LEAKS: dict[str, tuple[Process, float]] = {
    "64 B": (Process(malloc=lambda calls, seconds: 64 * calls), 64),
    "an object": (Process(blocks=lambda calls, seconds: calls), 64),
    "after a warm-up": (Process(malloc=lambda calls, seconds: 9 * MB + 300 * calls), 300),
    "beside a cache": (Process(malloc=lambda calls, seconds: 80 * calls + filling(5000)(calls, 0)), 80),
    "every hundredth call": (Process(malloc=lambda calls, seconds: 3000 * (calls // 100)), 30),
    "a list of None": (Process(malloc=lambda n, s: 8 * 1.125 ** math.ceil(math.log(n + 1, 1.125))), 8.5),
    "1 MB": (Process(malloc=lambda calls, seconds: MB * calls), MB),
    "20 MB": (Process(malloc=lambda calls, seconds: 20 * MB * calls), 20 * MB),
    "slow, 1 MB": (Process(malloc=lambda calls, seconds: MB * calls, seconds_per_call=0.1), MB),
    "mapped": (Process(mapped=lambda calls, seconds: 8192 * calls), 8192),
    "mapped by an object": (
        Process(blocks=lambda calls, seconds: calls, mapped=lambda calls, seconds: 8192 * calls), 8304
    ),
}  # fmt: skip


@pytest.mark.parametrize("process", INNOCENT.values(), ids=INNOCENT)
def test_bounded_growth_is_no_leak(process: Process) -> None:
    """However memory rises to a bound, the bound acquits, without anybody having said how long it takes."""
    verdict = process.check()

    assert verdict.verdict == "no_leak", verdict
    assert verdict.bytes_per_call_high is not None
    assert verdict.bytes_per_call_high <= 16
    assert verdict
    verdict.raise_if_leak()


@pytest.mark.parametrize(("process", "rate"), LEAKS.values(), ids=LEAKS)
def test_unbounded_growth_is_a_leak(process: Process, rate: float) -> None:
    """However small per call, large, rare or hidden from malloc: it is found, and its rate is right."""
    verdict = process.check()

    assert verdict.verdict == "leak", verdict
    assert verdict.bytes_per_call == pytest.approx(rate, rel=0.15)
    assert verdict.bytes_per_call_low <= verdict.bytes_per_call <= verdict.bytes_per_call_high  # type: ignore[operator]
    assert not verdict
    with pytest.raises(LeakError, match="leaks "):
        verdict.raise_if_leak()


@pytest.mark.parametrize("seed", range(40))
def test_noise_alone_is_never_a_leak(seed: int) -> None:
    """Whatever the noise, white or wandering, memory that goes nowhere is not accused."""
    chance = random.Random(seed)
    noise = 10 ** chance.uniform(1, 6)
    level = 0.0

    def wandering(calls: int, seconds: float) -> float:
        nonlocal level
        level = 0.6 * level + chance.gauss(0, noise)
        return level

    verdict = Process(malloc=wandering, seconds_per_call=10 ** chance.uniform(-6, -2)).check()

    assert verdict.verdict != "leak", verdict


@pytest.mark.parametrize("seed", range(10))
def test_noise_does_not_hide_a_leak(seed: int) -> None:
    """A hundred bytes a call under noise of half a megabyte are found, by calling more often."""
    chance = random.Random(seed)
    process = Process(malloc=lambda calls, seconds: 100 * calls + chance.gauss(0, MB / 2))
    verdict = process.check()

    assert verdict.verdict == "leak", verdict
    assert verdict.bytes_per_call == pytest.approx(100, rel=0.5)


def test_a_slow_leak_that_a_cache_could_be_is_left_open() -> None:
    """A thousand calls of steady growth look like a cache of 10,000; the reason says how to decide."""
    leak = {"malloc": lambda calls, seconds: 500 * calls, "seconds_per_call": 0.02}
    open_ = Process(**leak).check()  # type: ignore[arg-type]
    decided = Process(**leak).check(largest_cache=100)  # type: ignore[arg-type]

    assert open_.verdict == "cannot_tell"
    assert "a cache of up to 10,000 entries" in open_.reason
    assert "largest_cache" in open_.reason
    assert open_.bytes_per_call == 500
    assert not open_
    open_.raise_if_leak()
    assert decided.verdict == "leak"


def test_a_larger_cache_is_a_matter_of_saying_so() -> None:
    """50,000 entries look like a leak by default; told of them, the check waits until they are there."""
    assert Process(malloc=filling(50_000)).check().verdict == "leak"
    assert Process(malloc=filling(50_000)).check(largest_cache=50_000).verdict == "no_leak"


def test_growth_that_goes_on_without_calls_is_not_the_callables() -> None:
    """A leaking thread in the background must not be blamed on whatever is being tested."""
    verdict = Process(malloc=lambda calls, seconds: 5e6 * seconds).check()

    assert verdict.verdict == "cannot_tell"
    assert "while nothing is called" in verdict.reason


def test_growth_that_stops_when_looked_into_is_left_open() -> None:
    """Before it accuses Python, the check sees it allocate what stays; what it does not see it does not claim."""
    verdict = Process(blocks=lambda calls, seconds: calls).check(trace=True, max_seconds=5)

    assert verdict.verdict == "cannot_tell"
    assert "not when Python's allocations were traced" in verdict.reason


def test_a_cache_still_filling_is_named() -> None:
    """When the time is up before a cache is full that tells its size, that is the reason, and it is no leak."""
    cached = functools.lru_cache(maxsize=10**9)(lambda number: number)
    numbers = count()
    process = Process(malloc=lambda n, s: 200 * n, also=lambda calls: cached(next(numbers)))
    verdict = process.check(max_seconds=5)

    assert verdict.verdict == "cannot_tell"
    assert "of 1,000,000,000 entries" in verdict.reason


def test_growth_that_ever_slows_is_left_open() -> None:
    """The square root of the calls has no bound and is no leak of so much per call."""
    verdict = Process(malloc=lambda calls, seconds: 5e4 * math.sqrt(calls), seconds_per_call=1e-3).check()

    assert verdict.verdict == "cannot_tell"
    assert "ever slower" in verdict.reason


def test_one_call_that_takes_all_the_time_is_left_open() -> None:
    """With a single call nothing is known, and that is what is said."""
    verdict = Process(seconds_per_call=20).check()

    assert (verdict.verdict, verdict.bytes_per_call) == ("cannot_tell", None)
    assert "too short to see a trend (calls made: 1)" in verdict.reason
    assert verdict.seconds == 20


@pytest.mark.parametrize("seconds_per_call", [1e-6, 1e-4, 1e-2, 1.0])
def test_the_time_allowed_is_kept(seconds_per_call: float) -> None:
    """Whatever a call costs, the check ends within its time, but for the calls that have begun."""
    verdict = Process(
        malloc=lambda calls, seconds: 1e4 * math.sqrt(calls), seconds_per_call=seconds_per_call
    ).check(max_seconds=5)

    assert verdict.seconds <= 5 + 2 * seconds_per_call + 0.02


@pytest.mark.parametrize("seconds_per_call", [1e-6, 1e-3, 1e-1])
@pytest.mark.parametrize("rate", [1000, MB, 30 * MB])
def test_looking_for_a_leak_does_not_exhaust_the_memory(seconds_per_call: float, rate: float) -> None:
    """Whatever leaks, the check stops long before the machine has to stop it."""
    process = Process(malloc=lambda calls, seconds: rate * calls, seconds_per_call=seconds_per_call)
    process.check()

    assert process.most_malloc <= 400 * MB


def test_more_leak_is_never_less_verdict() -> None:
    """From the tolerance up, every larger rate is a leak as well."""
    verdicts = [
        Process(malloc=lambda calls, seconds, rate=rate: rate * calls).check().verdict  # type: ignore[misc]
        for rate in (0, 0.2, 0.9, 1.5, 5, 50, 500, 50_000, 5 * MB)
    ]

    assert verdicts == ["no_leak"] * 3 + ["leak"] * 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_seconds", 0),
        ("max_seconds", math.inf),
        ("max_seconds", math.nan),
        ("tolerance_bytes_per_call", -1),
        ("largest_cache", -1),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    """A wrong option is said at once, with its value."""
    with pytest.raises(ValueError, match=f"{name}={value!r}: must"):
        Options(**{name: value})  # type: ignore[arg-type]
