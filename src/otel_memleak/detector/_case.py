"""The case against a process: opened by a verdict, followed until it ends, or handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_memleak.detector._incidents import Incident
from otel_memleak.detector._patience import headroom_bytes
from otel_memleak.detector._timeline import Timeline
from otel_memleak.detector._watch import GrowthWatch

if TYPE_CHECKING:
    from otel_memleak.detector._alerts import GrowthRules, Moment
    from otel_memleak.detector._heritage import Heritage
    from otel_memleak.detector._lives import Life, Span
    from otel_memleak.detector._progress import Progress
    from otel_memleak.detector._trend import Trend
    from otel_memleak.detector._watch import Finding
    from otel_memleak.detector.state import DetectorState, OpenIncident
    from otel_memleak.types import LeakAlert, Severity

# What only growth, an alert or a state takes is imported where it is used: most processes never get there.

_SOON_SPANS = 4.0
_FASTER = 1.5
"""Growth that is found already is followed; looked for is only what would be faster by this factor."""


class LeakCase:
    """What is held against a process, on what evidence, and whether it still stands.

    Args:
        watch: Finds the growth.
        timeline: Knows the clock that is fed.
        rates: Bytes per second from which growth is a warning, and critical; None for automatic.
        window_s: The baseline window, seconds.
        incident: Keeps account of what has been said of it.
    """

    __slots__ = ("_ended", "_heritage", "_rates", "_timeline", "_watch", "_window", "incident", "progress")

    def __init__(
        self,
        watch: GrowthWatch,
        timeline: Timeline,
        rates: tuple[float | None, float | None],
        window_s: float,
        incident: Incident,
    ) -> None:
        self._watch = watch
        self._timeline = timeline
        self._rates = rates
        self._window = window_s
        self._ended: Progress | None = None
        self._heritage: Heritage | None = None
        self.incident = incident
        self.progress: Progress | None = None

    @property
    def trend(self) -> Trend | None:
        """The growth that was found, or else the strongest that is suspected; None without any."""
        if self.progress is not None:
            return self.progress.trend
        strongest = self._watch.strongest
        return strongest.evidence.trend if strongest is not None else None

    def judge(self, elapsed_s: float, closed: int, rss_bytes: float, limit_bytes: float | None) -> None:
        """Look at the growth again.

        Args:
            elapsed_s: Now.
            closed: How many widths of the envelope have closed a bucket, at least one.
            rss_bytes: Resident memory now.
            limit_bytes: The limit, if any.
        """
        progress = self.progress
        above = 0.0 if progress is None else _FASTER * progress.trend.slope
        finding = self._watch.judge(closed, limit_bytes, above)
        if finding is not None and finding.strength >= 1.0:
            self._convict(finding, elapsed_s, rss_bytes, limit_bytes)
        elif progress is not None:
            if progress.over(closed, self._watch.testimony):
                self.close(elapsed_s)
            else:
                self.incident.raise_to(self._severity(progress.trend, rss_bytes, limit_bytes), elapsed_s, 0.0)
        heritage = self._heritage
        if heritage is not None and heritage.due(elapsed_s) and self.progress is None:
            self._judge_lives(heritage, elapsed_s, rss_bytes, limit_bytes)

    def _judge_lives(
        self, heritage: Heritage, elapsed_s: float, rss_bytes: float, limit_bytes: float | None
    ) -> None:
        now, start_s = self._present(elapsed_s)
        verdict = heritage.judge(now, start_s, elapsed_s, self._watch.patience, limit_bytes)
        if verdict == "over":
            self.incident.end(elapsed_s)
        elif verdict is not None:
            self._convict(verdict, elapsed_s, rss_bytes, limit_bytes)

    def _convict(
        self, finding: Finding, elapsed_s: float, rss_bytes: float, limit_bytes: float | None
    ) -> None:
        from otel_memleak.detector._progress import Progress

        if self._heritage is not None:
            self._heritage.carried = None
        if self.progress is None:
            self.progress = Progress(finding, self._watch.envelope)
        else:
            self.progress.found_again(finding)
        reopen_s = max(self.incident.interval_s, _SOON_SPANS * finding.evidence.span_s)
        severity = self._severity(finding.evidence.trend, rss_bytes, limit_bytes)
        self.incident.raise_to(severity, elapsed_s, reopen_s)

    def close(self, elapsed_s: float) -> None:
        """The growth has ended, or the process with it."""
        if self.progress is not None:
            self._ended, self.progress = self.progress, None
            self.incident.end(elapsed_s)

    def _severity(self, trend: Trend, rss_bytes: float, limit_bytes: float | None) -> Severity:
        from otel_memleak.detector._forecast import forecast

        ahead = forecast(limit_bytes, rss_bytes, trend)
        headroom = headroom_bytes(rss_bytes, limit_bytes)
        return self._rules.severity(trend, headroom, ahead.seconds if ahead is not None else None)

    @property
    def _rules(self) -> GrowthRules:
        from otel_memleak.detector._alerts import GrowthRules

        return GrowthRules(*self._rates, self._window)

    def announce(self, elapsed_s: float, moment: Callable[[Incident], Moment]) -> LeakAlert | None:
        """What has to be said of it now, if anything; it counts as said.

        Args:
            elapsed_s: Now.
            moment: Describes the present sample.
        """
        said = self.incident.announce(elapsed_s)
        if said is None:
            return None
        from otel_memleak.detector._alerts import carried_over_alert, leak_alert

        over = said == "quiet"
        progress, heritage = self._ended if over else self.progress, self._heritage
        carried = heritage.carried if heritage is not None else None
        if over and heritage is not None and carried is not None:
            heritage.carried = None
            return carried_over_alert(moment(self.incident), self._rules, carried.slope)
        if progress is None:
            return None
        onset_s = self._timeline.fed_time(progress.onset_s)
        context = progress.context(self._watch.testimony)
        return leak_alert(moment(self.incident), progress, self._rules, onset_s, context, over=over)

    def inherit(self, known: DetectorState) -> None:
        """Judge from now on with what an earlier process has left."""
        from otel_memleak.detector._heritage import Heritage

        self._heritage = Heritage(self._window, known)

    def left_behind(self, elapsed_s: float) -> tuple[Life | None, tuple[Life, ...], OpenIncident | None]:
        """For a successor: the present life, those before it, and the incident if it is open."""
        from otel_memleak.detector._lives import line

        now, start_s = self._present(elapsed_s)
        life = None if now is None else line(now, start_s, elapsed_s - self._watch.envelope.start_s)
        earlier = () if self._heritage is None else self._heritage.lives.lines
        return life, earlier, self._open()

    def _present(self, elapsed_s: float) -> tuple[Span | None, float]:
        """What the present life shows, and when it began on the clock that is fed."""
        from otel_memleak.detector._lives import present

        envelope = self._watch.envelope
        now = present(envelope, self._watch.attention, elapsed_s, self._window)
        return now, self._timeline.fed_time(envelope.start_s)

    def _open(self) -> OpenIncident | None:
        from otel_memleak.detector.state import left_open

        incident, heritage, progress = self.incident, self._heritage, self.progress
        if not incident.open:
            return None
        if progress is None:
            return None if heritage is None else heritage.carried
        evidence = progress.finding.evidence
        onset_s = self._timeline.fed_time(progress.onset_s)
        since_s = onset_s if heritage is None else heritage.since_s(incident.id, onset_s)
        return left_open(incident, self._timeline, since_s, evidence.trend.slope, evidence.watched_s)
