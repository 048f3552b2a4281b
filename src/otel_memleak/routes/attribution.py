"""Bytes per call, per route: the growth of memory regressed on how often each entry point ran."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from otel_memleak.routes._ledger import CAPACITY, Ledger

if TYPE_CHECKING:
    from otel_memleak.routes._explanation import Explanation, Verdict
    from otel_memleak.types import RouteSuspect

MAX_CAPACITY: Final = 64


class RouteAttribution:
    """Says which route leaks, from samples of retained memory and of calls per route.

    A request's own memory cannot be measured: a kilobyte drowns in pages and in what others do meanwhile. But
    over many samples the growth follows the calls of the route that leaks, and only of that one. Samples are
    reduced to the lowest one per bucket of time, because what a collection leaves behind is what is retained;
    past samples lose weight by half-lives; nothing grows, neither with time nor with the number of routes.

    A route is named only when it explains the growth better than time, caches, warm-up and jumps together
    could, by a margin that allows for having tried every route. The method needs the mix of traffic to vary:
    routes whose calls keep the same proportions are named together, joined by ``" + "``, and what is said of
    one call then holds for a call of any of them. Up to four; beyond that there is no claim.

    Buckets are half a sampling interval wide. Whoever can feed this more often than the detector should: with
    several samples in a bucket, garbage that comes and goes is cut off, and the route is found the sooner.

    Args:
        capacity: Routes told apart; the rest is one, ``(other)``. 1 to 64.
        sampling_interval_seconds: Of the detector, in seconds; it sets the scale of time.
        half_life_seconds: After how long a sample counts half; None for 720 sampling intervals.
        ledger: What was taken in before; None for nothing. It knows the rest itself.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        capacity: int = CAPACITY,
        *,
        sampling_interval_seconds: float = 60.0,
        half_life_seconds: float | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        if not 1 <= capacity <= MAX_CAPACITY:
            raise ValueError(f"capacity={capacity!r} must be 1 to {MAX_CAPACITY}")
        if not 0.0 < sampling_interval_seconds < math.inf:
            raise ValueError(f"sampling_interval_seconds={sampling_interval_seconds!r} must be positive")
        if half_life_seconds is not None and not 0.0 < half_life_seconds < math.inf:
            raise ValueError(f"half_life_seconds={half_life_seconds!r} must be positive")
        self._ledger = ledger or Ledger(sampling_interval_seconds, capacity, half_life_seconds)
        self._known: tuple[float, Explanation] | None = None

    def update(self, time_s: float, retained_bytes: float, counts: Mapping[str, float]) -> None:
        """Take one sample. Samples that are repeated, out of order or no numbers are passed over.

        Args:
            time_s: Of the sample, in seconds, on any clock that moves forward.
            retained_bytes: Memory the process holds, in bytes; resident memory will do.
            counts: Calls of each route since any fixed point in time.
        """
        try:
            time_s, retained_bytes = float(time_s), float(retained_bytes)
        except (TypeError, ValueError, OverflowError):
            return
        self._ledger.add(time_s, retained_bytes, counts)

    def suspects(self) -> tuple[RouteSuspect, ...]:
        """Routes that leak, worst first, at most five; empty when nothing can be said.

        The first call after a sample solves the regression: milliseconds, tens of them with many routes.
        """
        return self._explanation().suspects

    @property
    def verdict(self) -> Verdict:
        """``route``; ``background`` when the growth follows the clock and no request; else ``unclear``.

        It is ``unclear``, too, as long as requests keep pace with the clock, or where there are none.
        """
        return self._explanation().verdict

    @property
    def background_bytes_per_hour(self) -> float:
        """Growth that follows the clock, beside that of the suspects; 0 when there is none."""
        return self._explanation().background_bytes_per_hour

    @property
    def bytes_per_request(self) -> float:
        """Growth per call if all of it is put down to requests, whatever the route; 0 without calls."""
        return self._explanation().bytes_per_request

    def _explanation(self) -> Explanation:
        if self._known is None or self._known[0] != self._ledger.time_s:
            self._known = self._ledger.time_s, self._explain()
        return self._known[1]

    def _explain(self) -> Explanation:
        # Loaded when there is growth to explain: a process that does not leak never needs it.
        from otel_memleak.routes._explanation import Explanation, explain

        rows = self._ledger.rows
        if not rows:
            return Explanation()
        calls = {name: [row.calls[column] for row in rows] for name, column in self._ledger.routes()}
        end_s = rows[-1].time_s
        weights = [2.0 ** ((row.time_s - end_s) / self._ledger.half_life_s) for row in rows[1:]]
        return explain([row.time_s for row in rows], [row.level_bytes for row in rows], calls, weights)
