"""The detector: samples in, alerts out."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from otel_memleak.detector._baseline import Baseline
from otel_memleak.detector._case import LeakCase
from otel_memleak.detector._incidents import Incident
from otel_memleak.detector._rss import RssCase, Threshold
from otel_memleak.detector._timeline import Timeline
from otel_memleak.detector._validation import limit, number, positive, rate, threshold
from otel_memleak.detector._watch import GrowthWatch
from otel_memleak.types import MB

if TYPE_CHECKING:
    from otel_memleak.detector._alerts import Moment
    from otel_memleak.detector.state import Plain
    from otel_memleak.types import LeakAlert, State

# What only growth, an alert or a state takes is imported where it is used: most processes never get there.

_HOUR = 3600.0
_MOST_BYTES = 2.0**60
_LATEST_S = 1e12


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
            to the limit the shorter; 3 to 7 hours where there is plenty, 16 where growth since the start of
            the process bends; more where it is in doubt.
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
        rates = (
            rate("growth_warning_bytes_per_hour", growth_warning_bytes_per_hour),
            rate("growth_critical_bytes_per_hour", growth_critical_bytes_per_hour),
        )
        warning = threshold("rss_warning_bytes", rss_warning_bytes)
        critical = threshold("rss_critical_bytes", rss_critical_bytes)
        pause = positive("alert_interval_seconds", alert_interval_seconds, zero=True)
        new_id = id_factory if id_factory is not None else _random_id
        self._timeline = Timeline(interval)
        self._baseline = Baseline(window)
        self._watch = GrowthWatch(interval, window, patience)
        self._leak = LeakCase(self._watch, self._timeline, rates, window, Incident(new_id, pause))
        self._rss_case = RssCase(warning, critical, self._limit, window, Incident(new_id, pause))
        self._time = 0.0
        self._rss = self._retained = 0.0

    @property
    def limit_bytes(self) -> float | None:
        """The limit the forecast is made against, bytes; may be set while running."""
        return self._limit

    @limit_bytes.setter
    def limit_bytes(self, value: float | None) -> None:
        self._limit = limit("limit_bytes", value)
        self._rss_case.limit_to(self._limit)

    @property
    def state(self) -> State:
        """``warming_up`` until there is a baseline and enough to judge; then what growth there is."""
        if self._leak.incident.open:
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
        trend = self._leak.trend
        return max(0.0, trend.slope * _HOUR) if trend is not None else 0.0

    @property
    def growth_interval(self) -> tuple[float, float] | None:
        """95 % interval of the growth, bytes per hour; None while nothing grows credibly."""
        trend = self._leak.trend
        return (trend.low * _HOUR, trend.high * _HOUR) if trend is not None else None

    @property
    def time_to_limit_s(self) -> float | None:
        """Seconds until the limit at the present growth; None without a limit or growth."""
        trend = self._leak.trend
        if trend is None:
            return None
        from otel_memleak.detector._forecast import forecast

        ahead = forecast(self._limit, self._rss, trend)
        return ahead.seconds if ahead is not None else None

    @property
    def retained_bytes(self) -> float:
        """What of the last sample is judged, bytes: resident, less what witnesses know to be nobody's."""
        return self._retained

    @property
    def noise_bytes(self) -> float:
        """Standard deviation of what is retained around its trend, bytes."""
        return self._watch.noise_bytes

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
        watch = self._watch
        watch.attention.step(elapsed)
        self._time, self._rss, self._retained = now, rss, rss
        self._rss_case.add(watch.attention.watched_s, rss)
        return True

    def _conclude(self, elapsed: float) -> LeakAlert | None:
        self._follow(elapsed, self._retained)
        if self._rss_case.calm and self._leak.incident.settled:
            return None
        alert = self._leak.announce(elapsed, self._moment)
        if alert is None:
            alert = self._rss_case.announce(elapsed, self._watch.testimony, self._moment)
        return alert

    def _follow(self, elapsed: float, rss: float) -> None:
        watch, baseline = self._watch, self._baseline
        restarted = watch.restarted(elapsed, rss, baseline.value_bytes)
        if restarted is None:
            return
        if restarted:
            baseline.restart()
            self._leak.close(elapsed)
        if not baseline.settled:
            baseline.add(watch.attention.watched_s, rss)
        closed = watch.envelope.add(elapsed, rss)
        if closed and baseline.value_bytes is not None:
            self._leak.judge(elapsed, closed, self._rss, self._limit)

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

    def export_state(self) -> Plain:
        """What a successor needs to go on: baseline, a line on each life so far, the open incidents.

        Returns:
            Numbers, texts, and lists and mappings of them, some kilobytes as JSON.
        """
        from otel_memleak.detector.state import DetectorState, left_open

        life, lives, leak = self._leak.left_behind(self._timeline.elapsed_s)
        rss = left_open(self._rss_case.incident, self._timeline, self._time)
        return DetectorState(self._time, self._baseline.value_bytes, life, lives, leak, rss).plain()

    def restore_state(self, state: Plain) -> None:
        """Go on where an earlier process ended. To be called before the first `update`, or soon after.

        Growth is then judged together with the lives of earlier processes, and an incident that was open goes
        on under its id, or is resolved when its growth does not come back.

        Args:
            state: What `export_state` of the earlier detector returned, on the same clock.

        Raises:
            ValueError: It is not that; the message names what is wrong, and nothing has changed.
        """
        from otel_memleak.detector.state import DetectorState, carry_on

        known = DetectorState.of_plain(state)
        self._leak.inherit(known)
        if self._baseline.value_bytes is None:
            self._baseline.value_bytes = known.baseline_bytes
        carry_on(self._leak.incident, known.leak, known.time_s)
        carry_on(self._rss_case.incident, known.rss, known.time_s)


def _random_id() -> str:
    return uuid.uuid4().hex
