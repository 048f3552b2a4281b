"""When memory will reach the limit."""

from __future__ import annotations

from otel_memleak.detector._trend import Trend
from otel_memleak.records import NamedTuple

_STRAYS = 0.6
"""Power of the windows ahead, plus one; above one half, because pace that has changed stays changed. Without
it every other interval held the truth on a labelled corpus; with it more than nine of ten."""


class Forecast(NamedTuple):
    """Seconds until the limit at the present growth, and a 95 % interval; ``high`` is None when unbounded."""

    seconds: float
    low: float
    high: float | None


def forecast(limit_bytes: float | None, rss_bytes: float, trend: Trend) -> Forecast | None:
    """Divide what is left by the growth; None without a limit or growth.

    Growth that bends goes on at the pace of the half of its window that is nearer. The interval reaches from
    the fastest pace that was seen to the slowest, and wider the further ahead it looks: pace wanders, with
    the hour, the load and the leak itself, and what wanders strays with about the square root of time.

    Args:
        limit_bytes: The limit.
        rss_bytes: Resident memory now: it is the whole of it that meets the limit, not only what is retained.
        trend: The growth.
    """
    if limit_bytes is None or trend.slope <= 0.0:
        return None
    left = max(0.0, limit_bytes - rss_bytes)
    strays = (1.0 + left / (trend.slope * trend.span_s)) ** _STRAYS
    pace = trend.late if trend.late > 0.0 else trend.slope
    return Forecast(
        left / pace,
        left / (max(trend.high, pace) * strays),
        left / min(trend.low, pace) * strays if trend.low > 0.0 else None,
    )
