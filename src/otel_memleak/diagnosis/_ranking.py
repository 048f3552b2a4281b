"""Which lines of code keep growing, from live bytes by line at a few moments of several short windows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from otel_memleak.diagnosis._places import short_path
from otel_memleak.diagnosis._tracing import Live, Site
from otel_memleak.types import Suspect

_SITES_KEPT: Final = 64
"""A window's largest growers. A leak that is not among them is not worth naming."""
_SUSPECTS: Final = 5
_MATERIAL_SHARE: Final = 0.05
"""Objects that leak come with others, allocated by other lines: a real leak in an HTTP framework had its
largest line at a tenth of the growth."""
_OURS: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_NOT_THE_APPLICATION: Final = tuple(
    os.path.join("opentelemetry", part, "") for part in ("sdk", "exporter", "attributes", "trace")
)
"""What queues up in the SDK between two exports grows within any window and is gone after it."""


def is_machinery(filename: str) -> bool:
    """Tell whether a file is ours, the tracer's, the interpreter's or the OpenTelemetry SDK's."""
    return (
        filename.startswith((_OURS, "<frozen ", "<unknown>"))
        or filename.endswith(os.sep + "tracemalloc.py")
        or any(part in filename for part in _NOT_THE_APPLICATION)
    )


class SiteRanking:
    """Growth of each line in each window; bounded by the number of windows times 64 lines."""

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        self._windows: list[dict[Site, tuple[float, float]]] = []

    @property
    def windows(self) -> int:
        """Windows taken in."""
        return len(self._windows)

    def add(self, first: Mapping[Site, Live], last: Mapping[Site, Live], seconds: float) -> None:
        """Take in a window: live bytes by line at two moments of it, that many seconds apart."""
        if seconds <= 0:
            return
        growth: dict[Site, tuple[float, float]] = {}
        for site, live in last.items():
            before = first.get(site)
            grown = live.size_bytes - (before.size_bytes if before is not None else 0)
            if grown > 0 and not is_machinery(site.filename):
                count = live.count - (before.count if before is not None else 0)
                growth[site] = (3600 * grown / seconds, 3600 * count / seconds)
        largest = sorted(growth, key=lambda site: growth[site], reverse=True)[:_SITES_KEPT]
        self._windows.append({site: growth[site] for site in largest})

    def traced_bytes_per_hour(self) -> float | None:
        """Growth of all lines together, the mean over the windows; None before the first one."""
        if not self._windows:
            return None
        return sum(rate for window in self._windows for rate, _ in window.values()) / len(self._windows)

    def suspects(self, growth_bytes_per_hour: float | None = None) -> list[Suspect]:
        """Lines that grew in every window, the fastest first; at most five.

        Args:
            growth_bytes_per_hour: Growth of the process, against which a line's share is taken; a line
                below a twentieth of it is not named. Default: the growth of all lines together.

        Returns:
            Suspects with site, growth, count and share. A line's growth is its slowest window's: what
            happened to be in work in one of them does not count.
        """
        whole = growth_bytes_per_hour or self.traced_bytes_per_hour()
        if not whole or not self._windows:
            return []
        steady = [site for site in self._windows[0] if all(site in window for window in self._windows)]
        found = [self._suspect(site, whole) for site in steady]
        material = [suspect for suspect in found if suspect.share >= _MATERIAL_SHARE]
        return sorted(material, key=lambda suspect: (-suspect.growth_bytes_per_hour, suspect.site))[
            :_SUSPECTS
        ]

    def _suspect(self, site: Site, whole_bytes_per_hour: float) -> Suspect:
        rate, count = min(window[site] for window in self._windows)
        return Suspect(
            site=f"{short_path(site.filename)}:{site.line}",
            growth_bytes_per_hour=rate,
            growth_count_per_hour=max(count, 0.0),
            share=min(rate / whole_bytes_per_hour, 1.0),
        )
