"""Series of resident memory with a known truth, and strategies that draw them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from random import Random

from hypothesis import strategies as st

from otel_memleak.detector import LeakDetector
from otel_memleak.types import MB, LeakAlert

HOUR = 3600.0
START = 1_700_000_000.0

Samples = list[tuple[float, float]]
Shape = Callable[[float], float]


def numbered() -> Callable[[], str]:
    """Identities that can be read: incident-1, incident-2, and so on."""
    counter = itertools.count(1)
    return lambda: f"incident-{next(counter)}"


def sampled(
    shape: Shape, hours: float, *, every_s: float = 60.0, noise_mb: float = 0.0, seed: int = 1
) -> Samples:
    """A shape (megabytes by hours) as samples, with uniform noise of plus and minus so many megabytes."""
    random = Random(seed)
    count = int(hours * HOUR / every_s) + 1
    return [
        (START + i * every_s, (shape(i * every_s / HOUR) + random.uniform(-noise_mb, noise_mb)) * MB)
        for i in range(count)
    ]


def linear(base_mb: float, mb_per_hour: float, onset_h: float = 0.0) -> Shape:
    """Level until the onset, then a straight line."""
    return lambda hour: base_mb + mb_per_hour * max(0.0, hour - onset_h)


def fed(detector: LeakDetector, samples: Iterable[tuple[float | None, float | None]]) -> list[LeakAlert]:
    """Everything a detector says about some samples."""
    alerts = (detector.update(time_s, rss_bytes) for time_s, rss_bytes in samples)
    return [alert for alert in alerts if alert is not None]


def leaks(alerts: Sequence[LeakAlert]) -> list[LeakAlert]:
    """Only what claims a leak."""
    return [alert for alert in alerts if alert.event == "memleak.leak"]


def first_leak(detector: LeakDetector, samples: Iterable[tuple[float | None, float | None]]) -> LeakAlert:
    """The first claim of a leak; what comes after it is not looked at."""
    alerts = (detector.update(time_s, rss_bytes) for time_s, rss_bytes in samples)
    return next(alert for alert in alerts if alert is not None and alert.event == "memleak.leak")


def quiet(limit_mb: float | None = None, **settings: object) -> LeakDetector:
    """A detector without thresholds on resident memory, with readable identities."""
    limit = None if limit_mb is None else limit_mb * MB
    settings = {"rss_warning_bytes": None, "rss_critical_bytes": None, "id_factory": numbered()} | settings
    return LeakDetector(limit, **settings)  # type: ignore[arg-type]


@st.composite
def leaking(draw: st.DrawFn) -> Samples:
    """A day of a leak that nobody would miss."""
    base = draw(st.floats(50.0, 2000.0))
    rate = base * draw(st.floats(0.01, 0.05))
    onset = draw(st.floats(0.0, 4.0))
    noise = base * draw(st.floats(0.0, 0.002))
    return sampled(
        linear(base, rate, onset), 24.0, every_s=120.0, noise_mb=noise, seed=draw(st.integers(0, 999))
    )


@st.composite
def innocent(draw: st.DrawFn) -> Samples:
    """A day of a level with teeth and noise.

    A tooth is at least twelve samples long: sampled less often, it may look like anything.
    """
    base = draw(st.floats(50.0, 2000.0))
    teeth = base * draw(st.floats(0.0, 0.2))
    period = draw(st.floats(0.4, 2.0))
    noise = base * draw(st.floats(0.0, 0.01))
    return sampled(
        lambda hour: base + teeth * ((hour / period) % 1.0),
        24.0,
        every_s=120.0,
        noise_mb=noise,
        seed=draw(st.integers(0, 999)),
    )


junk = st.sampled_from([None, float("nan"), float("inf"), float("-inf"), -1.0, 0.0])
"""Readings that failed."""
