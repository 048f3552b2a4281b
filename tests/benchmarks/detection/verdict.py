"""Run one detector over one series, and judge what it said against the truth.

A detector is anything that is built as ``Detector(limit_bytes, sampling_interval_seconds=...)`` and answers
``update(time_s, rss_bytes)`` with None or a claim. One decision counts per series:

* found: a leaking series with a claim at or after the onset;
* false: an innocent series with any claim, or a leaking one with a claim before the onset.
"""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol

from .corpus import Series
from .process import DAY, HOUR, MINUTE

QUIET_BETWEEN_EPISODES_S = 6 * HOUR
"""Claims on an innocent series further apart than this wake somebody twice."""

RATE_WINDOWS_S = (DAY, 6 * HOUR, HOUR, 10 * MINUTE)
"""A rate is right when it is the true mean over one of these spans before the claim, cut at the onset."""

URGENT_SHARE = 0.4
"""A leak is urgent when it reached the limit or ate this much of the room below it."""

FAST_DEATH_S = 10 * MINUTE


class Claim(Protocol):
    """What is read of an alert. ``event``, where there is one, must be ``memleak.leak``."""

    @property
    def growth_bytes_per_hour(self) -> float | None: ...
    @property
    def growth_bytes_per_hour_low(self) -> float | None: ...
    @property
    def growth_bytes_per_hour_high(self) -> float | None: ...
    @property
    def time_to_limit_s(self) -> float | None: ...


class Detector(Protocol):
    def update(self, time_s: float, rss_bytes: float, /) -> Claim | None: ...


DetectorFactory = Callable[..., Detector]


@dataclass(frozen=True)
class Verdict:
    """The judgement on one series.

    Attributes:
        pattern: Name of the pattern.
        leaks: The truth.
        days: Length of the record.
        samples: Samples fed.
        seconds: CPU time spent in ``update``.
        state_bytes: Size of the detector afterwards, with all it refers to.
        false: Whether it was accused wrongly.
        episodes: Runs of claims on an innocent series.
        found: Whether the leak was found.
        urgent: Whether the leak came close to the limit.
        fast: Whether it killed within ten minutes of its onset.
        delay_s: From onset to the first claim; this and the rest only where found and not accused early.
        room_used: Share of the room below the limit that was gone by then.
        rate_error: Relative, at the first claim.
        covered: Whether the interval of the rate held a true rate.
        interval_share: Half of the interval's width, relative to the rate.
        eta_error: Relative; only for a record that reached a limit the detector knew.
        eta_covered: Whether the interval of the time left held the true one; likewise.
    """

    pattern: str
    leaks: bool
    days: float
    samples: int
    seconds: float
    state_bytes: int
    false: bool
    episodes: int = 0
    found: bool = False
    urgent: bool = False
    fast: bool = False
    delay_s: float | None = None
    room_used: float | None = None
    rate_error: float | None = None
    covered: bool | None = None
    interval_share: float | None = None
    eta_error: float | None = None
    eta_covered: bool | None = None

    @property
    def in_time(self) -> bool:
        """Whether at least half of the room was left."""
        return self.room_used is not None and self.room_used <= 0.5


@dataclass(frozen=True)
class Heard:
    """A claim, and the true state of affairs when it was made."""

    time_s: float
    rss_bytes: float
    claim: Claim


def judge(build: DetectorFactory, series: Series) -> Verdict:
    """Feed the whole series and judge the claims."""
    detector = build(
        series.limit_bytes if series.limit_visible else None,
        sampling_interval_seconds=series.interval_seconds,
    )
    heard, seconds = _listen(detector, series)
    facts: dict[str, Any] = {
        "pattern": series.pattern,
        "leaks": series.leaks,
        "days": series.duration_s / DAY,
        "samples": len(series.times_s),
        "seconds": seconds,
        "state_bytes": state_bytes(detector),
    }
    if series.onset_s is None:
        return Verdict(**facts, false=bool(heard), episodes=_episodes(heard))
    early = any(one.time_s < series.onset_s for one in heard)
    hits = [one for one in heard if one.time_s >= series.onset_s]
    facts |= {"urgent": _urgent(series), "fast": _fast(series), "found": bool(hits), "false": early}
    if hits and not early:
        facts |= _quality(series, series.onset_s, hits[0])
    return Verdict(**facts)


def _listen(detector: Detector, series: Series) -> tuple[list[Heard], float]:
    update, claims = detector.update, []
    started = process_time()
    for i, (time_s, rss_bytes) in enumerate(zip(series.times_s, series.rss_bytes, strict=True)):
        claim = update(time_s, rss_bytes)
        if claim is not None:
            claims.append((i, claim))
    seconds = process_time() - started
    heard = [
        Heard(series.true_times_s[i], _last_reading(series, i), claim)
        for i, claim in claims
        if getattr(claim, "event", "memleak.leak") == "memleak.leak"
    ]
    return heard, seconds


def _last_reading(series: Series, position: int) -> float:
    """The reading at ``position``, or the latest one before it that did not fail."""
    return next((r for r in reversed(series.rss_bytes[: position + 1]) if not math.isnan(r)), math.nan)


def _episodes(heard: list[Heard]) -> int:
    count, latest = 0, -math.inf
    for one in heard:
        count += one.time_s - latest > QUIET_BETWEEN_EPISODES_S
        latest = one.time_s
    return count


def _room_used(series: Series, time_s: float, rss_bytes: float) -> float:
    held = series.held_at(time_s)
    room = held + max(0.0, series.limit_bytes - rss_bytes)
    return held / room if room > 0 else 1.0


def _urgent(series: Series) -> bool:
    last = _last_reading(series, len(series.rss_bytes) - 1)
    return series.reached_limit or _room_used(series, series.duration_s, last) >= URGENT_SHARE


def _fast(series: Series) -> bool:
    return series.reached_limit and series.duration_s - (series.onset_s or 0.0) <= FAST_DEATH_S


def true_rates(series: Series, onset_s: float, time_s: float) -> list[float]:
    """Mean true rates before ``time_s``, bytes per hour, over every window of ``RATE_WINDOWS_S``."""
    rates = []
    for window_s in RATE_WINDOWS_S:
        start_s = max(onset_s, time_s - window_s)
        if time_s > start_s:
            lost = series.leaked_at(time_s) - series.leaked_at(start_s)
            rates.append(lost / (time_s - start_s) * HOUR)
    return [rate for rate in rates if rate > 0]


def _quality(series: Series, onset_s: float, first: Heard) -> dict[str, float | bool]:
    quality: dict[str, float | bool] = {
        "delay_s": first.time_s - onset_s,
        "room_used": _room_used(series, first.time_s, first.rss_bytes),
    }
    claim, rates = first.claim, true_rates(series, onset_s, first.time_s)
    rate = claim.growth_bytes_per_hour
    low, high = claim.growth_bytes_per_hour_low, claim.growth_bytes_per_hour_high
    if rate is not None and rates:
        quality["rate_error"] = min(abs(rate - true) / true for true in rates)
        if low is not None and high is not None and rate > 0:
            quality["covered"] = any(low <= true <= high for true in rates)
            quality["interval_share"] = (high - low) / 2 / rate
    left_s = series.duration_s - first.time_s
    if claim.time_to_limit_s is not None and series.reached_limit and series.limit_visible and left_s > 0:
        quality["eta_error"] = abs(claim.time_to_limit_s - left_s) / left_s
        soonest_s: float | None = getattr(claim, "time_to_limit_low_s", None)
        latest_s: float | None = getattr(claim, "time_to_limit_high_s", None)
        if soonest_s is not None:
            quality["eta_covered"] = soonest_s <= left_s <= (math.inf if latest_s is None else latest_s)
    return quality


def state_bytes(root: object) -> int:
    """Size of an object and of everything reachable from it, code excepted."""
    seen: dict[int, object] = {}
    pending = [root]
    while pending:
        thing = pending.pop()
        if id(thing) not in seen and not isinstance(thing, (type, ModuleType)):
            seen[id(thing)] = thing
            pending.extend(_held_by(thing))
    return sum(sys.getsizeof(thing) for thing in seen.values())


def _held_by(thing: object) -> Sequence[object]:
    """What an object refers to; of a function only what it has closed over, of a method only its object."""
    if isinstance(thing, FunctionType):
        return thing.__closure__ or ()
    if isinstance(thing, (MethodType, BuiltinFunctionType)):
        return (thing.__self__,)
    return gc.get_referents(thing)
