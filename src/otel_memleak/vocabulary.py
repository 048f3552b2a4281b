"""The words that settings, metrics and alerts have in common, apart from what takes longer to load."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

MB: Final = 1024 * 1024
"""Bytes in a megabyte, as used for every ``…_mb`` name and in every sentence for people."""

Severity = Literal["warning", "critical"]
Reason = Literal["growth", "forecast", "rss"]
State = Literal["warming_up", "stable", "suspect", "leaking"]

STATES: Final[tuple[State, ...]] = ("warming_up", "stable", "suspect", "leaking")
SEVERITIES: Final[tuple[Severity, ...]] = ("warning", "critical")
REASONS: Final[tuple[Reason, ...]] = ("growth", "forecast", "rss")


class MonitoringTier(str, Enum):
    """How much a process looks at itself.

    ``PRODUCTION`` reads only what costs microseconds, once a minute. ``DEVELOPMENT`` looks every ten
    seconds, traces Python allocations and counts asyncio tasks. ``DISABLED`` does nothing at all.
    """

    PRODUCTION = "production"
    DEVELOPMENT = "development"
    DISABLED = "disabled"
