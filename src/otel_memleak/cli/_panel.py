"""What one panel of a picture shows, in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Final

from otel_memleak.cli._series_file import Row
from otel_memleak.cli._thinning import ThinnedSeries
from otel_memleak.messages import sentence
from otel_memleak.types import LeakAlert

if TYPE_CHECKING:
    from otel_memleak.detector import LeakDetector

_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Trend:
    """The growth of one incident, as a line with its interval, which opens from the onset.

    Attributes:
        onset_s: Where it begins.
        end_s: Where it ends: at the end of the incident or of the series.
        onset_bytes: Level of the line there.
        rate: Bytes per second.
        rate_low: Lower end of its 95 % interval.
        rate_high: Upper end of its 95 % interval.
    """

    onset_s: float
    end_s: float
    onset_bytes: float
    rate: float
    rate_low: float
    rate_high: float

    def at(self, time_s: float, rate: float | None = None) -> float:
        """Level of the line at a time, or of another from the same onset, bytes."""
        return self.onset_bytes + (self.rate if rate is None else rate) * (time_s - self.onset_s)


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the limit is reached, as of the last sample.

    Attributes:
        limit_bytes: The limit.
        reached_s: When the line gets there.
        earliest_s: When the upper end of the interval gets there.
        latest_s: When the lower end gets there; infinite if it never does.
    """

    limit_bytes: float
    reached_s: float
    earliest_s: float
    latest_s: float


class Panel:
    """One series with what the detector said about it.

    Args:
        title: Which series it is.

    Attributes:
        title: Which series it is.
        series: Its samples, thinned.
        alerts: What the detector said, oldest first.
        baseline_bytes: Where it began.
        limit_bytes: Where it must not get.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.series = ThinnedSeries()
        self.alerts: list[LeakAlert] = []
        self.baseline_bytes: float | None = None
        self.limit_bytes: float | None = None
        self._now: LeakAlert | None = None

    def watch(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Hands rows on and keeps what the picture needs of them."""
        add = self.series.add
        for row in rows:
            add(*row)
            yield row

    def finish(self, detector: LeakDetector) -> None:
        """Takes over where the detector stands at the end of the series."""
        self.baseline_bytes = detector.baseline_bytes
        self.limit_bytes = detector.limit_bytes
        leaks = [alert for alert in self.alerts if alert.event == "memleak.leak"]
        if detector.state != "leaking" or not leaks or not self.series.stretches:
            return
        low, high = detector.growth_interval or (None, None)
        last = self.series.stretches[-1]
        self._now = replace(
            leaks[-1],
            time_s=last.last_s,
            rss_bytes=last.mean_bytes,
            growth_bytes_per_hour=detector.growth_bytes_per_hour,
            growth_bytes_per_hour_low=low,
            growth_bytes_per_hour_high=high,
            time_to_limit_s=detector.time_to_limit_s,
        )

    @property
    def leaks(self) -> bool:
        """Whether a leak was found in it."""
        return any(alert.event == "memleak.leak" for alert in self.alerts)

    @property
    def headline(self) -> str:
        """What the picture shows, in one sentence, as of the end of the series."""
        if self._now is not None:
            return sentence(self._now)
        leaks = [alert for alert in self.alerts if alert.event == "memleak.leak"]
        if leaks:
            grew = replace(leaks[-1], time_to_limit_s=None, baseline_bytes=None)
            return f"{sentence(grew)}, but does no longer"
        return sentence(self.alerts[-1]) if self.alerts else "No leak found"

    def trends(self) -> list[Trend]:
        """The growth of every incident, as it was last known."""
        last_of: dict[str, LeakAlert] = {}
        ends_s: dict[str, float] = {}
        for alert in self.alerts:
            if alert.event == "memleak.leak":
                last_of[alert.id] = alert
                ends_s.pop(alert.id, None)
            elif alert.event == "memleak.resolved":
                ends_s[alert.id] = alert.time_s
        if self._now is not None:
            last_of[self._now.id] = self._now
        end_s = self.series.stretches[-1].last_s if self.series.stretches else 0.0
        found = [self._trend(alert, ends_s.get(identity, end_s)) for identity, alert in last_of.items()]
        return [trend for trend in found if trend is not None]

    def forecast(self) -> Forecast | None:
        """When the limit is reached if it goes on like this; None when it does not."""
        now = self._now
        if now is None or now.limit_bytes is None or now.time_to_limit_s is None:
            return None
        left_bytes = max(0.0, now.limit_bytes - now.rss_bytes)

        def reached_s(rate_per_hour: float | None) -> float:
            per_s = (rate_per_hour or 0.0) / _HOUR_S
            return now.time_s + left_bytes / per_s if per_s > 0 else float("inf")

        expected_s = now.time_s + now.time_to_limit_s
        return Forecast(
            limit_bytes=now.limit_bytes,
            reached_s=expected_s,
            earliest_s=min(expected_s, reached_s(now.growth_bytes_per_hour_high)),
            latest_s=max(expected_s, reached_s(now.growth_bytes_per_hour_low)),
        )

    def _trend(self, alert: LeakAlert, end_s: float) -> Trend | None:
        onset_s, rate_per_hour = alert.onset_s, alert.growth_bytes_per_hour
        if onset_s is None or rate_per_hour is None:
            return None
        inside = [one for one in self.series.stretches if onset_s <= one.middle_s <= end_s]
        if not inside:
            return None
        rate = rate_per_hour / _HOUR_S
        return Trend(
            onset_s=onset_s,
            end_s=end_s,
            onset_bytes=median(one.mean_bytes - rate * (one.middle_s - onset_s) for one in inside),
            rate=rate,
            rate_low=(alert.growth_bytes_per_hour_low or rate_per_hour) / _HOUR_S,
            rate_high=(alert.growth_bytes_per_hour_high or rate_per_hour) / _HOUR_S,
        )
