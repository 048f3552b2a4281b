"""Drawing one panel with matplotlib: few things, named where they are."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from importlib import import_module
from typing import Any, Final

from otel_memleak.cli._panel import Forecast, Panel, Trend
from otel_memleak.cli._text import count
from otel_memleak.messages import format_duration, format_mb
from otel_memleak.types import MB

_SERIES: Final = "#4c6a86"
_QUIET: Final = "#6f6f6f"
_TREND: Final = "#d1481f"
_LIMIT: Final = "#a00021"
_MARKS: Final = {
    ("memleak.leak", "warning"): ("v", "#f0a202", "leak, warning"),
    ("memleak.leak", "critical"): ("v", "#c1121f", "leak, critical"),
    ("memleak.rss", "warning"): ("D", "#f0a202", "memory high, warning"),
    ("memleak.rss", "critical"): ("D", "#c1121f", "memory high, critical"),
}
_RESOLVED: Final = ("o", "#2a9d4a", "resolved")
_UNIX_FROM_S: Final = 5e8
_UNIX_TO_S: Final = 2e11
"""Seconds between these are Unix time: no process runs for sixteen years, no calendar for six thousand."""

_MOST_AHEAD: Final = 1.2
"""A limit reached within this many times the time measured is shown; a later one is only pointed to."""

_POINTING: Final = 0.35
_LEAST_SPAN: Final = 0.25
"""Of the level: noise of a percent must not fill the panel."""

_UNITS: Final = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))


class TimeAxis:
    """Where a time lies on the axis, and how it is written.

    Args:
        first_s: Where the series begins.
        last_s: Where the picture ends.
    """

    def __init__(self, first_s: float, last_s: float) -> None:
        self.is_unix = first_s >= _UNIX_FROM_S and last_s <= _UNIX_TO_S
        self._first_s = first_s
        span_s = last_s - first_s
        unit = next(((length, name) for least, length, name in _UNITS if span_s >= least), (1.0, "seconds"))
        self._unit_s, self._unit_name = unit

    def at(self, time_s: float) -> Any:
        """A time as matplotlib takes it."""
        if self.is_unix:
            return datetime.fromtimestamp(time_s, timezone.utc)
        return (time_s - self._first_s) / self._unit_s

    def label(self, axes: Any) -> None:
        """Writes the times below the axis."""
        if not self.is_unix:
            axes.set_xlabel(f"{self._unit_name} since the first sample", color=_QUIET)
            return
        dates = import_module("matplotlib.dates")
        locator = dates.AutoDateLocator(tz=timezone.utc, minticks=4, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=timezone.utc))
        axes.set_xlabel("UTC", color=_QUIET)


def draw_panel(axes: Any, panel: Panel) -> None:
    """Draws one series with what was found in it."""
    stretches = panel.series.stretches
    first_s, now_s = stretches[0].first_s, stretches[-1].last_s
    forecast = panel.forecast()
    end_s = _end_s(first_s, now_s, forecast)
    time = TimeAxis(first_s, end_s)
    _draw_series(axes, time, panel)
    for trend in panel.trends():
        _draw_trend(axes, time, trend)
    if forecast is not None:
        _draw_forecast(axes, time, panel, forecast, now_s, end_s)
    _draw_baseline(axes, panel)
    axes.set_ylim(*_range_mb(panel, forecast, end_s))
    _draw_limit(axes, panel)
    _draw_alerts(axes, time, panel)
    margin_s = 0.01 * max(end_s - first_s, 1.0)
    axes.set_xlim(time.at(first_s - margin_s), time.at(end_s + margin_s))
    _finish(axes, time, panel, now_s - first_s)


def _end_s(first_s: float, now_s: float, forecast: Forecast | None) -> float:
    if forecast is None:
        return now_s
    measured_s = max(now_s - first_s, 1.0)
    ahead_s = 1.1 * (forecast.reached_s - now_s)
    return now_s + (ahead_s if ahead_s <= _MOST_AHEAD * measured_s else _POINTING * measured_s)


def _range_mb(panel: Panel, forecast: Forecast | None, end_s: float) -> tuple[float, float]:
    """What the panel spans: all that was measured and the limit if it is near, not the uncertainty."""
    stretches = panel.series.stretches
    levels = [min(one.least_bytes for one in stretches), max(one.most_bytes for one in stretches)]
    if forecast is not None:
        start_bytes, now_s = _forecast_start(panel), stretches[-1].last_s
        share = min(1.0, (end_s - now_s) / max(forecast.reached_s - now_s, 1e-9))
        levels.append(start_bytes + share * (forecast.limit_bytes - start_bytes))
    if panel.limit_bytes is not None and panel.limit_bytes <= 1.5 * max(levels):
        levels.append(panel.limit_bytes)
    if panel.baseline_bytes is not None:
        levels.append(panel.baseline_bytes)
    low, high = min(levels) / MB, max(levels) / MB
    missing = max(0.0, _LEAST_SPAN * high - (high - low))
    margin = missing / 2 + 0.06 * max(high - low, missing)
    return max(0.0, low - margin), high + margin


def _draw_series(axes: Any, time: TimeAxis, panel: Panel) -> None:
    for piece in panel.series.pieces():
        times = [time.at(one.middle_s) for one in piece]
        if any(one.samples > 1 for one in piece):
            least = [one.least_bytes / MB for one in piece]
            most = [one.most_bytes / MB for one in piece]
            axes.fill_between(times, least, most, color=_SERIES, alpha=0.25, linewidth=0)
        means = [one.mean_bytes / MB for one in piece]
        axes.plot(times, means, color=_SERIES, linewidth=1.1, marker="." if len(piece) == 1 else None)


def _draw_trend(axes: Any, time: TimeAxis, trend: Trend) -> None:
    ends_s = (trend.onset_s, trend.end_s)
    ends = [time.at(end_s) for end_s in ends_s]
    axes.plot(ends, [trend.at(end_s) / MB for end_s in ends_s], color=_TREND, linewidth=1.6)
    first, second = (
        [trend.at(end_s, rate) / MB for end_s in ends_s] for rate in (trend.rate_low, trend.rate_high)
    )
    axes.fill_between(ends, first, second, color=_TREND, alpha=0.18, linewidth=0)
    axes.axvline(ends[0], color=_TREND, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.annotate(
        "onset", (ends[0], 0), xycoords=("data", "axes fraction"), xytext=(4, 4),
        textcoords="offset points", color=_TREND, fontsize=9,
    )  # fmt: skip


def _draw_forecast(
    axes: Any, time: TimeAxis, panel: Panel, forecast: Forecast, now_s: float, end_s: float
) -> None:
    start_bytes = _forecast_start(panel)

    def until(reached_s: float) -> tuple[float, float]:
        """Where a line that reaches the limit then leaves the picture."""
        if not math.isfinite(reached_s):
            return end_s, start_bytes
        share = min(1.0, (end_s - now_s) / max(reached_s - now_s, 1e-9))
        return now_s + share * (reached_s - now_s), start_bytes + share * (forecast.limit_bytes - start_bytes)

    line, early, late = until(forecast.reached_s), until(forecast.earliest_s), until(forecast.latest_s)
    corners = [(now_s, start_bytes), early, late]
    if early[0] < end_s <= late[0]:
        corners.insert(2, (end_s, forecast.limit_bytes))
    axes.fill(
        [time.at(at_s) for at_s, _ in corners], [level / MB for _, level in corners],
        color=_TREND, alpha=0.10, linewidth=0,
    )  # fmt: skip
    axes.plot(
        [time.at(now_s), time.at(line[0])], [start_bytes / MB, line[1] / MB],
        color=_TREND, linewidth=1.5, linestyle=(0, (4, 3)),
    )  # fmt: skip
    axes.annotate(
        _when(forecast, now_s), (0.99, 0.18), xycoords="axes fraction", ha="right", va="bottom", color=_TREND,
        fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2},
    )  # fmt: skip


def _forecast_start(panel: Panel) -> float:
    last = panel.series.stretches[-1]
    trends = panel.trends()
    return trends[-1].at(last.last_s) if trends else last.mean_bytes


def _when(forecast: Forecast, now_s: float) -> str:
    text = f"{format_mb(forecast.limit_bytes)} MB reached in {format_duration(forecast.reached_s - now_s)}"
    earliest = format_duration(forecast.earliest_s - now_s)
    if math.isfinite(forecast.latest_s):
        return f"{text} (95 % {earliest} to {format_duration(forecast.latest_s - now_s)})"
    return f"{text} (95 % not before {earliest})"


def _draw_baseline(axes: Any, panel: Panel) -> None:
    if panel.baseline_bytes is not None:
        axes.axhline(panel.baseline_bytes / MB, color=_QUIET, linewidth=0.9, linestyle=(0, (5, 4)))
        _name_line(axes, panel.baseline_bytes, f"baseline {format_mb(panel.baseline_bytes)} MB", _QUIET)


def _draw_limit(axes: Any, panel: Panel) -> None:
    if panel.limit_bytes is not None and panel.limit_bytes / MB <= axes.get_ylim()[1]:
        axes.axhline(panel.limit_bytes / MB, color=_LIMIT, linewidth=1.3)
        _name_line(axes, panel.limit_bytes, f"limit {format_mb(panel.limit_bytes)} MB", _LIMIT)


def _name_line(axes: Any, level_bytes: float, text: str, colour: str) -> None:
    axes.annotate(
        text, (1, level_bytes / MB), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", va="center", color=colour, fontsize=9, annotation_clip=False,
    )  # fmt: skip


def _draw_alerts(axes: Any, time: TimeAxis, panel: Panel) -> None:
    named: set[str] = set()
    for alert in panel.alerts:
        marker, colour, name = _MARKS.get((alert.event, alert.severity), _RESOLVED)
        axes.plot(
            [time.at(alert.time_s)], [alert.rss_bytes / MB], marker, color=colour, markersize=9,
            markeredgecolor="white", markeredgewidth=0.9, zorder=5, label=None if name in named else name,
        )  # fmt: skip
        named.add(name)
    if named:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=5, frameon=False, fontsize=9, borderaxespad=0.2,
            handletextpad=0.2, columnspacing=1.2, labelcolor="#333333",
        )  # fmt: skip


def _finish(axes: Any, time: TimeAxis, panel: Panel, measured_s: float) -> None:
    axes.set_ylabel("resident memory, MB", color=_QUIET)
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    time.label(axes)
    facts = f"{panel.title} · {count(panel.series.samples, 'sample')} in {format_duration(measured_s)}"
    # Labels are the user's: a dollar sign in one is no formula.
    axes.set_title(panel.headline, loc="left", fontsize=12, fontweight="bold", pad=22)
    axes.annotate(
        facts, (0, 1), xycoords="axes fraction", xytext=(0, 7), textcoords="offset points",
        color=_QUIET, fontsize=9, parse_math=False,
    )  # fmt: skip
