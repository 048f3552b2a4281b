"""What an earlier process has left to this one: lives that ended, and an incident that did not."""

from __future__ import annotations

from typing import Final, Literal

from otel_memleak.detector._evidence import credible
from otel_memleak.detector._lives import Lives, Span, line
from otel_memleak.detector._patience import Patience
from otel_memleak.detector._watch import Finding
from otel_memleak.detector.state import DetectorState, OpenIncident

_LONGEST_WAIT_S: Final = 86400.0
_LEAST_WAIT_WINDOWS: Final = 3.0
_STEP_SHARE: Final = 0.05


class Heritage:
    """Judges the present life together with those before it.

    It looks after every twentieth of the age, because each look fits a line through up to 64 points.

    Args:
        baseline_window_s: The least that is left out at the start of a life, seconds.
        state: What was left; None for nothing, and then nothing is ever judged here.
    """

    def __init__(self, baseline_window_s: float, state: DetectorState | None = None) -> None:
        self._start_up_s = baseline_window_s
        self._due_s = float("inf") if state is None else 0.0
        before = () if state is None or state.life is None else (state.life,)
        self.lives = Lives((*state.lives, *before) if state is not None else ())
        self.carried: OpenIncident | None = None if state is None else state.leak
        self._origin = self.carried

    def since_s(self, identity: str, onset_s: float) -> float:
        """When an incident began, on the clock fed, also if that was in an earlier life."""
        origin = self._origin
        return min(onset_s, origin.since_s) if origin is not None and origin.id == identity else onset_s

    def due(self, elapsed_s: float) -> bool:
        """Whether it is time for another look."""
        return elapsed_s >= self._due_s

    def judge(
        self,
        now: Span | None,
        start_s: float,
        elapsed_s: float,
        patience: Patience,
        limit_bytes: float | None,
    ) -> Finding | Literal["over"] | None:
        """Look at the present life in the light of the earlier ones.

        Args:
            now: The present life; None while it says nothing.
            start_s: When it began, on the clock fed.
            elapsed_s: Now.
            patience: How long growth is watched.
            limit_bytes: The limit, if any.

        Returns:
            A finding when growth has been watched for long enough in all of them, or goes on under an
            incident that is open; ``"over"`` when that incident's growth has not come back; else None.
        """
        self._due_s = elapsed_s + max(_STEP_SHARE * elapsed_s, self._start_up_s / 10.0)
        if now is not None:
            finding = self._finding(now, start_s, patience, limit_bytes)
            if finding is not None:
                return finding
        return "over" if self._over(now, start_s) else None

    def _finding(
        self, now: Span, start_s: float, patience: Patience, limit_bytes: float | None
    ) -> Finding | None:
        evidence = now.evidence
        if self.carried is not None:
            present = line(now, start_s, evidence.watched_s)
            if credible(evidence) and present.like(self.carried.slope):
                return Finding(evidence, 1.0, now.level)
            return None
        series = self.lives.series(now, start_s)
        if series is None:
            return None
        strength = series.watched_s / patience.needed_s(evidence, limit_bytes, rise_bytes=series.rise_bytes)
        if strength < 1.0:
            return None
        return Finding(evidence, strength, now.level, series.watched_s - evidence.watched_s)

    def _over(self, now: Span | None, start_s: float) -> bool:
        if self.carried is None:
            return False
        slope, quiet_s = self.carried.slope, self.lives.quiet_s(self.carried.slope)
        if now is not None:
            present = line(now, start_s, now.evidence.watched_s)
            if present.without(slope):
                quiet_s += now.evidence.watched_s
            elif present.like(slope) is not None:
                return False
        least_s = _LEAST_WAIT_WINDOWS * self._start_up_s
        return quiet_s >= min(max(self.carried.span_s, least_s), max(_LONGEST_WAIT_S, least_s))
