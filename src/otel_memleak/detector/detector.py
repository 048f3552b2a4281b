"""The detector: samples in, alerts out."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from otel_memleak.detector._baseline import Baseline
from otel_memleak.detector._incidents import Incident
from otel_memleak.detector._patience import headroom_bytes
from otel_memleak.detector._rss import RssWatch, Threshold, resolve_thresholds
from otel_memleak.detector._timeline import Timeline
from otel_memleak.detector._validation import limit, number, positive, threshold
from otel_memleak.detector._watch import GrowthWatch
from otel_memleak.types import MB

if TYPE_CHECKING:
    from otel_memleak.detector._alerts import GrowthRules, Moment
    from otel_memleak.detector._forecast import Forecast
    from otel_memleak.detector._heritage import Heritage
    from otel_memleak.detector._progress import Progress
    from otel_memleak.detector._trend import Trend
    from otel_memleak.detector._watch import Finding
    from otel_memleak.detector.state import OpenIncident, Plain
    from otel_memleak.types import LeakAlert, Severity, State

# What only growth, an alert or a state takes is imported where it is used: most processes never get there.

_HOUR = 3600.0
_MOST_BYTES = 2.0**60
_LATEST_S = 1e12
_SOON_SPANS = 4.0
_FASTER = 1.5
"""Growth that is found already is followed; looked for is only what would be faster by this factor."""


class LeakDetector:
    """Says from the resident memory of one process, sample by sample, whether it leaks.

    Guards against memory that is never given back (CWE-401, CWE-772) before it exhausts the limit of the
    container or the host (CWE-400). Pure: no clock, no thread, no input or output; constant memory, whatever
    is fed; `update` never raises.

    Growth is measured by the Theil-Sen slope of the lower envelope on many time scales at once, and is a leak
    when it is material, clear of the noise, new, going on, and has been watched for long enough; see the
    package's docstring. Its rate does not decide that, only how bad it is.

    Args:
        limit_bytes: The limit that will kill the process, bytes; None when there is none.
        sampling_interval_seconds: Expected time between samples. They may come at any spacing.
        baseline_window_seconds: Time the samples span whose median is the baseline; the unit of the short
            time scales.
        patience_seconds: How long growth is watched before it is called a leak. None: the less time is left
            to the limit the shorter, 3 to 7 hours where there is plenty, more where the growth is in doubt.
        growth_warning_bytes_per_hour: Rate from which an alert's reason is the growth itself; ``"auto"``
            follows the headroom and the noise of the process: what would use up the headroom in a day.
        growth_critical_bytes_per_hour: Rate from which an alert is critical; ``"auto"``: in four hours.
        rss_warning_bytes: Resident memory to warn at; ``"auto"`` is 80 % of the limit, or 256 MB without
            one; None or 0 is off.
        rss_critical_bytes: Resident memory to alarm at; ``"auto"`` is 90 % of the limit, or 512 MB without
            one; None or 0 is off.
        alert_interval_seconds: At most one alert of a kind and severity in this time.
        id_factory: Makes the identity of an incident; default 32 random hexadecimal digits.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(
        self,
        limit_bytes: float | None = None,
        *,
        sampling_interval_seconds: float = 60.0,
        baseline_window_seconds: float = 300.0,
        patience_seconds: float | None = None,
        growth_warning_bytes_per_hour: float | Literal["auto"] = 50.0 * MB,
        growth_critical_bytes_per_hour: float | Literal["auto"] = 100.0 * MB,
        rss_warning_bytes: Threshold = "auto",
        rss_critical_bytes: Threshold = "auto",
        alert_interval_seconds: float = 3600.0,
        id_factory: Callable[[], str] | None = None,
    ) -> None:
        self._limit = limit("limit_bytes", limit_bytes)
        interval = positive("sampling_interval_seconds", sampling_interval_seconds)
        window = positive("baseline_window_seconds", baseline_window_seconds)
        patience = None if patience_seconds is None else positive("patience_seconds", patience_seconds)
        self._rates = (
            _rate("growth_warning_bytes_per_hour", growth_warning_bytes_per_hour),
            _rate("growth_critical_bytes_per_hour", growth_critical_bytes_per_hour),
        )
        self._rss_settings = (
            threshold("rss_warning_bytes", rss_warning_bytes),
            threshold("rss_critical_bytes", rss_critical_bytes),
        )
        pause = positive("alert_interval_seconds", alert_interval_seconds, zero=True)
        new_id = id_factory if id_factory is not None else _random_id
        self._thresholds = resolve_thresholds(*self._rss_settings, self._limit)
        self._timeline = Timeline(interval)
        self._baseline = Baseline(window)
        self._watch = GrowthWatch(interval, window, patience)
        self._progress: Progress | None = None
        self._ended: Progress | None = None
        self._rss_watch = RssWatch(window)
        self._leak = Incident(new_id, pause)
        self._rss_incident = Incident(new_id, pause)
        self._window = window
        self._heritage: Heritage | None = None
        self._time = 0.0
        self._rss = self._retained = 0.0

    @property
    def limit_bytes(self) -> float | None:
        """The limit the forecast is made against, bytes; may be set while running."""
        return self._limit

    @limit_bytes.setter
    def limit_bytes(self, value: float | None) -> None:
        self._limit = limit("limit_bytes", value)
        self._thresholds = resolve_thresholds(*self._rss_settings, self._limit)

    @property
    def state(self) -> State:
        """``warming_up`` until there is a baseline and enough to judge; then what growth there is."""
        if self._leak.open:
            return "leaking"
        if self._baseline.value_bytes is None or not self._watch.ready:
            return "warming_up"
        return "stable" if self._watch.strongest is None else "suspect"

    @property
    def baseline_bytes(self) -> float | None:
        """Median of the first samples spanning the baseline window, bytes; None before that."""
        return self._baseline.value_bytes

    @property
    def growth_bytes_per_hour(self) -> float:
        """Robust rate of what is retained, bytes per hour; 0.0 while nothing grows credibly."""
        trend = self._trend
        return max(0.0, trend.slope * _HOUR) if trend is not None else 0.0

    @property
    def growth_interval(self) -> tuple[float, float] | None:
        """95 % interval of the growth, bytes per hour; None while nothing grows credibly."""
        trend = self._trend
        return (trend.low * _HOUR, trend.high * _HOUR) if trend is not None else None

    @property
    def time_to_limit_s(self) -> float | None:
        """Seconds until the limit at the present growth; None without a limit or growth."""
        ahead = self._forecast
        return ahead.seconds if ahead is not None else None

    @property
    def retained_bytes(self) -> float:
        """What of the last sample is judged, bytes: resident, less what witnesses know to be nobody's."""
        return self._retained

    @property
    def noise_bytes(self) -> float:
        """Standard deviation of what is retained around its trend, bytes."""
        return self._watch.noise_bytes

    @property
    def _trend(self) -> Trend | None:
        if self._progress is not None:
            return self._progress.trend
        strongest = self._watch.strongest
        return strongest.evidence.trend if strongest is not None else None

    @property
    def _forecast(self) -> Forecast | None:
        trend = self._trend
        if trend is None:
            return None
        from otel_memleak.detector._forecast import forecast

        return forecast(self._limit, self._rss, trend)

    @property
    def _rules(self) -> GrowthRules:
        from otel_memleak.detector._alerts import GrowthRules

        return GrowthRules(*self._rates, self._window)

    def update(
        self,
        time_s: float | None,
        rss_bytes: float | None,
        *,
        requests: float | None = None,
        malloc_in_use_bytes: float | None = None,
        malloc_kept_bytes: float | None = None,
        allocated_blocks: float | None = None,
        file_bytes: float | None = None,
        swapped_bytes: float | None = None,
        threads: float | None = None,
        asyncio_tasks: float | None = None,
        cache_entries: float | None = None,
        cache_room: float | None = None,
        modules: float | None = None,
    ) -> LeakAlert | None:
        """Take one sample; never raises on what a sample can be.

        The keywords are witnesses: each may be given with every sample, now and then, or never; what was said
        last stands until it is said anew. What is not a number of at least 0 was not said.

        Args:
            time_s: When, seconds, on any clock, which may jump. Samples may be missing, repeated or late.
            rss_bytes: Resident memory, bytes. What is not a positive number is a reading that failed.
            requests: Requests served so far, since any moment: the clock on which a quiet night does not hide
                a leak, and the reason why a busy day is none.
            malloc_in_use_bytes: Allocated from malloc and not freed, bytes (``uordblks + hblkhd`` of
                ``mallinfo2``). Growth of it needs less patience; growth beside it more.
            malloc_kept_bytes: Freed, and kept by malloc, bytes (``fordblks``). Growth of it is no leak.
            allocated_blocks: Blocks in use in Python's allocator (``sys.getallocatedblocks``); with malloc's
                bytes, the other half of what is in use.
            file_bytes: Resident pages of mapped files, bytes, without shared memory. Growth of it is no leak.
            swapped_bytes: Memory in swap, bytes. It counts as if it were resident.
            threads: Threads of the process; said in the alert where they multiply.
            asyncio_tasks: Unfinished asyncio tasks; likewise.
            cache_entries: Entries that bounded caches have taken so far, since any moment.
            cache_room: Entries that those of them that are filling still take. Growth that goes with the
                entries, and ends below the limit when there is no room left, is watched until then.
            modules: Loaded so far (``len(sys.modules)``). Growth while they become more is a start.

        Returns:
            An alert, if there is something new to say. Of two, the leak's comes first, the other's with the
            next sample.
        """
        if not self._tick(time_s, rss_bytes):
            return None
        # All of them None, asked without calling anything of theirs: a witness may be any object.
        silent = (requests is malloc_in_use_bytes is malloc_kept_bytes is allocated_blocks is file_bytes
                  is swapped_bytes is threads is asyncio_tasks is cache_entries is cache_room
                  is None)  # fmt: skip
        testimony = self._watch.testimony
        if not (silent and testimony.silent):
            said = (requests, malloc_in_use_bytes, malloc_kept_bytes, allocated_blocks, file_bytes,
                    swapped_bytes, threads, asyncio_tasks, cache_entries, cache_room)  # fmt: skip
            self._retained = testimony.hear(self._timeline.elapsed_s, self._rss, said)
        if modules is not None and (loaded := number(modules)) is not None and loaded >= 0.0:
            self._watch.attention.loaded(loaded)
        return self._conclude(self._timeline.elapsed_s)

    def _tick(self, time_s: float | None, rss_bytes: float | None) -> bool:
        """Take the two numbers of a sample; False when they are none, or late."""
        now = time_s if type(time_s) is float else number(time_s)
        rss = rss_bytes if type(rss_bytes) is float else number(rss_bytes)
        if now is None or rss is None or not (0.0 < rss <= _MOST_BYTES and -_LATEST_S <= now <= _LATEST_S):
            return False  # not a number fails every comparison
        if not self._timeline.advance(now):
            return False
        elapsed = self._timeline.elapsed_s
        self._watch.attention.step(elapsed)
        self._time, self._rss, self._retained = now, rss, rss
        self._rss_watch.add(elapsed, rss, self._thresholds)
        return True

    def _conclude(self, elapsed: float) -> LeakAlert | None:
        self._follow(elapsed, self._retained)
        if self._rss_watch.severity is None and self._leak.settled and self._rss_incident.at_rest:
            return None
        return self._announce(elapsed)

    def export_state(self) -> Plain:
        """What a successor needs to go on: baseline, a line on each life so far, the open incidents.

        Returns:
            Numbers, texts, and lists and mappings of them, some kilobytes as JSON.
        """
        from otel_memleak.detector._lives import line, present
        from otel_memleak.detector.state import DetectorState

        elapsed, envelope = self._timeline.elapsed_s, self._watch.envelope
        now = present(envelope, self._watch.attention, elapsed, self._window)
        start_s = self._timeline.fed_time(envelope.start_s)
        life = None if now is None else line(now, start_s, elapsed - envelope.start_s)
        return DetectorState(
            self._time, self._baseline.value_bytes, life, self._inherited().lives.lines,
            self._open(self._leak), self._open(self._rss_incident),
        ).plain()  # fmt: skip

    def restore_state(self, state: Plain) -> None:
        """Go on where an earlier process ended. To be called before the first `update`, or soon after.

        Growth is then judged together with the lives of earlier processes, and an incident that was open goes
        on under its id, or is resolved when its growth does not come back.

        Args:
            state: What `export_state` of the earlier detector returned, on the same clock.

        Raises:
            ValueError: It is not that; the message names what is wrong, and nothing has changed.
        """
        from otel_memleak.detector._heritage import Heritage
        from otel_memleak.detector.state import DetectorState

        known = DetectorState.of_plain(state)
        self._heritage = Heritage(self._window, known)
        if self._baseline.value_bytes is None:
            self._baseline.value_bytes = known.baseline_bytes
        for incident, left in ((self._leak, known.leak), (self._rss_incident, known.rss)):
            if left is not None and not incident.open:
                said_at = None if left.said_s is None else min(0.0, left.said_s - known.time_s)
                incident.carry_on(left.id, left.severity, said_at)

    def _inherited(self) -> Heritage:
        from otel_memleak.detector._heritage import Heritage

        return self._heritage if self._heritage is not None else Heritage(self._window)

    def _open(self, incident: Incident) -> OpenIncident | None:
        from otel_memleak.detector.state import OpenIncident

        if not incident.open:
            return None
        if incident is self._leak and self._progress is None:
            return self._inherited().carried
        said_s = None if incident.said_at is None else self._timeline.fed_time(incident.said_at)
        since_s, slope, span_s = self._time, 0.0, 0.0
        if incident is self._leak and self._progress is not None:
            evidence = self._progress.finding.evidence
            onset_s = self._timeline.fed_time(self._progress.onset_s)
            since_s = self._inherited().since_s(incident.id, onset_s)
            slope, span_s = evidence.trend.slope, evidence.watched_s
        return OpenIncident(incident.id, incident.worst, since_s, said_s, slope, span_s)

    def _follow(self, elapsed: float, rss: float) -> None:
        watch, baseline = self._watch, self._baseline
        restarted = watch.restarted(elapsed, rss, baseline.value_bytes)
        if restarted is None:
            return
        if restarted:
            baseline.restart()
            self._close_leak(elapsed)
        if not baseline.settled:
            baseline.add(watch.attention.watched_s, rss)
        closed = watch.envelope.add(elapsed, rss)
        if closed and baseline.value_bytes is not None:
            self._judge(elapsed, closed)
            heritage = self._heritage
            if heritage is not None and heritage.due(elapsed) and self._progress is None:
                self._judge_lives(heritage, elapsed)

    def _judge(self, elapsed: float, closed: int) -> None:
        above = 0.0 if self._progress is None else _FASTER * self._progress.trend.slope
        finding = self._watch.judge(closed, self._limit, above)
        if finding is not None and finding.strength >= 1.0 and finding.evidence.trend.low > 0.0:
            self._convict(finding, elapsed)
        elif self._progress is not None:
            if self._progress.over(closed, self._watch.testimony):
                self._close_leak(elapsed)
            else:
                self._leak.raise_to(self._severity(self._progress.trend), elapsed, 0.0)

    def _judge_lives(self, heritage: Heritage, elapsed: float) -> None:
        from otel_memleak.detector._lives import present

        envelope = self._watch.envelope
        now = present(envelope, self._watch.attention, elapsed, self._window)
        start_s = self._timeline.fed_time(envelope.start_s)
        verdict = heritage.judge(now, start_s, elapsed, self._watch.patience, self._limit)
        if verdict == "over":
            self._leak.end(elapsed)
        elif verdict is not None:
            self._convict(verdict, elapsed)

    def _convict(self, finding: Finding, elapsed: float) -> None:
        from otel_memleak.detector._progress import Progress

        if self._heritage is not None:
            self._heritage.carried = None
        if self._progress is None:
            self._progress = Progress(finding, self._watch.envelope)
        else:
            self._progress.found_again(finding)
        reopen_s = max(self._leak.interval_s, _SOON_SPANS * finding.evidence.span_s)
        self._leak.raise_to(self._severity(finding.evidence.trend), elapsed, reopen_s)

    def _close_leak(self, elapsed: float) -> None:
        if self._progress is not None:
            self._ended, self._progress = self._progress, None
            self._leak.end(elapsed)

    def _severity(self, trend: Trend) -> Severity:
        from otel_memleak.detector._forecast import forecast

        ahead = forecast(self._limit, self._rss, trend)
        headroom = headroom_bytes(self._rss, self._limit)
        return self._rules.severity(trend, headroom, ahead.seconds if ahead is not None else None)

    def _announce(self, elapsed: float) -> LeakAlert | None:
        said = self._leak.announce(elapsed)
        if said is not None:
            return self._leak_alert(over=said == "quiet")
        if self._rss_watch.severity is None:
            self._rss_incident.end(elapsed)
        else:
            self._rss_incident.raise_to(self._rss_watch.severity, elapsed, self._rss_incident.interval_s)
        said = self._rss_incident.announce(elapsed)
        if said is None:
            return None
        from otel_memleak.detector._alerts import rss_alert

        moment = self._moment(self._rss_incident)
        kept = self._watch.testimony.kept_remark()
        return rss_alert(moment, self._rss_watch.threshold_bytes, kept, over=said == "quiet")

    def _leak_alert(self, *, over: bool) -> LeakAlert | None:
        from otel_memleak.detector._alerts import carried_over_alert, leak_alert

        progress, heritage = self._ended if over else self._progress, self._heritage
        carried = heritage.carried if heritage is not None else None
        if over and heritage is not None and carried is not None:
            heritage.carried = None
            return carried_over_alert(self._moment(self._leak), self._rules, carried.slope)
        if progress is None:
            return None
        onset = self._timeline.fed_time(progress.onset_s)
        context = progress.context(self._watch.testimony)
        return leak_alert(self._moment(self._leak), progress, self._rules, onset, context, over=over)

    def _moment(self, incident: Incident) -> Moment:
        from otel_memleak.detector._alerts import Moment

        return Moment(
            id=incident.id,
            severity=incident.worst,
            time_s=self._time,
            rss_bytes=self._rss,
            baseline_bytes=self._baseline.value_bytes,
            limit_bytes=self._limit,
        )


def _rate(name: str, value: float | Literal["auto"]) -> float | None:
    """Bytes per second; None for automatic."""
    return None if value == "auto" else positive(name, value, zero=True) / _HOUR


def _random_id() -> str:
    return uuid.uuid4().hex
