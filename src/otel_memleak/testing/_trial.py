"""The course of a check: how often to call before looking, and when to stop.

A generator that asks for calls and for waiting, and is run by whoever can do them: a loop, an event loop, or
a test with invented readings.

Calls come in epochs of eight equal blocks, each epoch twice as long as everything before it. So the warm-up
needs no guessing: whatever it is, it soon lies before the epoch that is judged. Growth there is a leak if

* it is more than the tolerance per call, in most blocks, and not slowing down;
* it began after more calls than fill a bounded cache, or has kept more memory than a cache should;
* no ``functools.lru_cache`` with room left grew meanwhile;
* memory does not grow as well while nothing is called;
* it goes on when traced, if it is Python's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from otel_memleak.testing import _reasons
from otel_memleak.testing._caches import Sizes, lru_cache_sizes
from otel_memleak.testing._controls import calls_to_trace, grows_when_idle, has_stopped, sites_of, trace
from otel_memleak.testing._epoch import Epoch, summarise, weighed
from otel_memleak.testing._judgement import BLOCKS, FEWEST_BLOCKS, Growth
from otel_memleak.testing._meter import Levels, Meter, Reading
from otel_memleak.testing._steps import Calls, Steps
from otel_memleak.testing._verdict import LeakVerdict, Options, Outcome
from otel_memleak.types import MB

if TYPE_CHECKING:
    from otel_memleak.clock import Clock

_EPOCH_TO_PAST: Final = 2.0
_QUIET_CALLS: Final = 30_000
_QUIET_SECONDS: Final = 1.0
_FEWEST_QUIET_CALLS: Final = 100
_SLOW_SECONDS: Final = 5.0
_SLOW_TOLERANCE: Final = 16.0
"""With few calls the least noise is a byte per call; what is excluded then is one object left by each."""

_LARGE_BYTES: Final = 64 * MB
"""Kept by steady growth, this is a leak even where a cache of few but large entries could hold it."""

_BLOCK_BYTES: Final = 16 * MB
_EPOCH_BYTES: Final = 256 * MB


class Trial:
    """One check of one callable. Run `steps` to its end; then there is a `verdict`.

    Args:
        meter: Reads the process.
        clock: Only its monotonic side is used.
        options: How to check.
        cache_sizes: Entries of the ``functools.lru_cache``s, for tests to replace.
    """

    def __init__(
        self,
        meter: Meter,
        clock: Clock,
        options: Options,
        cache_sizes: Callable[[], Sizes] = lru_cache_sizes,
    ) -> None:
        self._meter = meter
        self._clock = clock
        self._options = options
        self._cache_sizes = cache_sizes
        self._levels = Levels(BLOCKS + 1)
        self._started_s = clock.monotonic_s()
        self._reading_s = 0.0
        self._first_bytes: float | None = None
        self._doubt = ""
        self._epoch: Epoch | None = None
        self._calls = 0
        self.verdict: LeakVerdict | None = None

    def steps(self) -> Steps[None]:
        """Ask for calls until the verdict is certain or the time is up."""
        seconds_per_call = yield from self._call(1)
        while self.verdict is None:
            count = self._calls_per_block(seconds_per_call)
            if count == 0:
                self._give_up()
                return
            yield from self._call_in_advance(count)
            epoch = yield from self._run_epoch(count)
            if epoch is not None:
                self._epoch = epoch
                seconds_per_call = epoch.seconds_per_call
                yield from self._decide(epoch)

    @property
    def _elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s

    @property
    def _tolerance(self) -> float:
        return self._options.tolerance_bytes_per_call

    def _call(self, count: int) -> Steps[float]:
        """Have some calls made; returns the seconds of one."""
        before_s = self._clock.monotonic_s()
        yield Calls(count)
        self._calls += count
        return (self._clock.monotonic_s() - before_s) / count

    def _read(self) -> Reading:
        before_s = self._clock.monotonic_s()
        reading = self._meter.read()
        self._reading_s = self._clock.monotonic_s() - before_s
        return reading

    def _calls_per_block(self, seconds_per_call: float) -> int:
        """Length of the next epoch's blocks; 0 when there is no time left for one worth having."""
        cost_s = max(1e-9, seconds_per_call)
        worthwhile = min(_QUIET_CALLS // BLOCKS, int(self._reading_s / cost_s))
        wanted = max(1, int(_EPOCH_TO_PAST * self._calls / BLOCKS), worthwhile)
        if self._epoch is not None and self._epoch.in_use.per_call > 0:
            wanted = max(1, min(wanted, int(_BLOCK_BYTES / self._epoch.in_use.per_call)))
        left_s = self._options.max_seconds - self._elapsed_s - (BLOCKS + 1) * self._reading_s
        affordable = int(left_s / cost_s / BLOCKS)
        return min(wanted, affordable) if 2 * affordable >= wanted else 0

    def _call_in_advance(self, count: int) -> Steps[None]:
        """If memory grows, get beyond what fills a cache before looking again, where that is not far."""
        missing = self._options.largest_cache - self._calls
        growing = self._epoch is not None and self._epoch.suspected(self._tolerance) is not None
        if growing and 0 < missing <= BLOCKS * count:
            yield from self._call(missing)

    def _run_epoch(self, count: int) -> Steps[Epoch | None]:
        calls_before = self._calls
        seconds = 0.0
        caches = self._cache_sizes()
        self._levels.clear()
        self._levels.add(self._read())
        while len(self._levels) <= BLOCKS and not self._must_stop():
            seconds += count * (yield from self._call(count))
            self._levels.add(self._read())
        if len(self._levels) <= FEWEST_BLOCKS:
            return None
        if self._first_bytes is None:
            self._first_bytes = self._levels.in_use_bytes()[0]
        seconds_per_call = seconds / (self._calls - calls_before)
        return summarise(self._levels, caches, calls_before, count, seconds_per_call)

    def _must_stop(self) -> bool:
        """Whether to cut the epoch short: out of time, or about to use up the memory."""
        if self._elapsed_s > self._options.max_seconds:
            return True
        in_use = self._levels.in_use_bytes()
        return len(in_use) > FEWEST_BLOCKS and in_use[-1] - in_use[0] > _EPOCH_BYTES

    def _decide(self, epoch: Epoch) -> Steps[None]:
        suspected = epoch.suspected(self._tolerance)
        if suspected is None:
            if self._is_quiet(epoch.in_use):
                self._conclude("no_leak", epoch.in_use, _reasons.no_leak(epoch.in_use, self._calls))
        elif self._beyond_caches(epoch):
            if (yield from grows_when_idle(self._meter, self._clock, epoch, suspected)):
                self._doubt = _reasons.GROWS_WHEN_IDLE
            else:
                yield from self._convict(epoch, suspected)

    def _is_quiet(self, seen: Growth) -> bool:
        """Whether growth that matters is excluded, after calls enough for it to have begun."""
        if self._calls >= _QUIET_CALLS:
            return seen.high <= self._tolerance
        slow = self._elapsed_s >= _SLOW_SECONDS
        long_enough = self._elapsed_s >= _QUIET_SECONDS and self._calls >= _FEWEST_QUIET_CALLS
        return long_enough and seen.high <= self._tolerance * (_SLOW_TOLERANCE if slow else 1.0)

    def _beyond_caches(self, epoch: Epoch) -> bool:
        if epoch.filling:
            return False
        kept = epoch.in_use_bytes - (self._first_bytes or 0.0)
        return epoch.calls_before >= self._options.largest_cache or kept >= _LARGE_BYTES

    def _convict(self, epoch: Epoch, suspected: Growth) -> Steps[None]:
        calls, sites = self._calls, None
        if self._options.trace:
            count = calls_to_trace(epoch)
            traced = yield from trace(self._meter, self._call, count)
            if has_stopped(epoch, suspected, traced, count):
                self._doubt = _reasons.STOPS_WHEN_TRACED
                return
            if suspected is epoch.in_use and traced.small_blocks > 0:
                suspected = weighed(epoch, self._levels, traced.small_bytes / traced.small_blocks)
            sites = sites_of(suspected, traced, count)
        self._conclude("leak", suspected, _reasons.leak(suspected, epoch, calls, sites), sites or ())

    def _give_up(self) -> None:
        epoch = self._epoch
        seen = None if epoch is None else epoch.suspected(self._tolerance) or epoch.in_use
        reason = _reasons.cannot_tell(epoch, self._options, self._calls, self._doubt)
        self._conclude("cannot_tell", seen, reason)

    def _conclude(
        self, outcome: Outcome, seen: Growth | None, reason: str, sites: tuple[str, ...] = ()
    ) -> None:
        self.verdict = LeakVerdict(
            verdict=outcome,
            bytes_per_call=seen.per_call if seen is not None else None,
            bytes_per_call_low=seen.low if seen is not None else None,
            bytes_per_call_high=seen.high if seen is not None else None,
            calls=self._calls,
            seconds=self._elapsed_s,
            reason=reason,
            sites=sites,
        )
