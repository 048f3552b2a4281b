"""Judges a recorded run by what some witnesses have said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from otel_memleak import LeakAlert, LeakDetector
from otel_memleak.sampler import witnesses
from otel_memleak.types import MB, Sample

_MALLOC = ("malloc_in_use_bytes", "malloc_kept_bytes", "allocated_blocks")
_CACHES = ("cache_entries", "cache_room")
WITNESSES: Final[dict[str, tuple[str, ...]]] = {
    "RSS alone": (),
    "malloc, blocks": _MALLOC,
    "file pages": ("file_bytes",),
    "swap": ("swapped_bytes",),
    "requests": ("requests",),
    "caches": _CACHES,
    "modules": ("modules",),
    "all": (*_MALLOC, "file_bytes", "swapped_bytes", "requests", *_CACHES, "modules"),
}
"""Columns of the table: what is believed beside resident memory."""


class Outcome(NamedTuple):
    """What was said about one run by one set of witnesses.

    Attributes:
        leak: The first alert that claims a leak; None without.
        after_s: When, seconds since the start.
    """

    leak: LeakAlert | None
    after_s: float

    def cell(self) -> str:
        """For the table."""
        return "–" if self.leak is None else f"{self.after_s:.0f} s"


def judge(samples: Sequence[dict[str, Any]], believed: Sequence[str]) -> Outcome:
    """Feed a run to a detector with only these witnesses."""
    detector = LeakDetector(
        1024 * MB,
        sampling_interval_seconds=0.25,
        baseline_window_seconds=5.0,
        patience_seconds=20.0,
        rss_warning_bytes=None,
        rss_critical_bytes=None,
    )
    for record in samples:
        said = {name: value for name, value in witnesses(Sample(**record)).items() if name in believed}
        alert = detector.update(record["time_s"], record["rss_bytes"], **said)
        if alert is not None and alert.event == "memleak.leak":
            return Outcome(alert, record["time_s"])
    return Outcome(None, 0.0)
