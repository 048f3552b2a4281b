"""Last words: what is known at 95 % of the limit goes out before the process is killed.

They are the incident's own event once more, under its id: `memleak.diagnosis` when who leaks is known, else
`memleak.leak` at severity critical. Growth that is not a leak yet is told as `memleak.rss`, critical. Where
nothing is known beyond what was sent already, nothing is added; but in each case the SDK is asked to send
what it holds without waiting for its interval, and the sentence goes into the state file. Both on threads
that are there already when it comes to that, with the content ready.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from otel_memleak import semconv
from otel_memleak.errands import Errands
from otel_memleak.guard import Guard
from otel_memleak.last_words import PREPARED_SHARE, growth_clause, opening

if TYPE_CHECKING:
    from otel_memleak.clock import Clock
    from otel_memleak.emission.alerts import Alerts
    from otel_memleak.emission.notice import Notice
    from otel_memleak.last_words import Approach
    from otel_memleak.state import StateKeeper
    from otel_memleak.status import Status
    from otel_memleak.types import Diagnosis, LeakAlert

THREAD_NAME: Final = "OtelMemleakLastWords"
FLUSH_TIMEOUT_MS: Final = 2000


class Epilogue:
    """Has last words ready when the limit is near, and says them.

    Args:
        approach: Follows resident memory towards the limit.
        clock: The sample clock.
        alerts: How to tell; None for not at all.
        keeper: Where they are left for the next process; None for nowhere.
        count: Called with an alert that was sent.
        guard: Told of failures.
        errands: Asks the SDK to send; injectable for tests.
    """

    def __init__(
        self,
        approach: Approach,
        clock: Clock,
        alerts: Alerts | None,
        keeper: StateKeeper | None,
        count: Callable[[LeakAlert], None],
        guard: Guard,
        errands: Errands | None = None,
    ) -> None:
        self._clock = clock
        self._alerts = alerts
        self._keeper = keeper
        self._count = count
        self._errands = errands or Errands(THREAD_NAME, guard)
        self._approach = approach
        self._leak: LeakAlert | None = None
        self._rss: LeakAlert | None = None
        self._diagnosis: Diagnosis | None = None
        self._clauses: tuple[str, ...] = ()
        self._notice: tuple[Notice, LeakAlert | None] | None = None
        self._ready_bytes = 0

    def stop(self) -> None:
        """Nothing more will be said; does not wait for the network."""
        self._errands.stop(0.0)

    def hear(self, alert: LeakAlert) -> None:
        """Remember what was told of an incident."""
        if alert.event == "memleak.resolved":
            if self._leak is not None and self._leak.id == alert.id:
                self._leak = self._diagnosis = None
            if self._rss is not None and self._rss.id == alert.id:
                self._rss = None
        elif alert.event == "memleak.leak":
            self._leak = alert
        else:
            self._rss = alert

    def hear_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Remember who leaks. Runs on the thread of the investigation."""
        self._diagnosis = diagnosis

    def look(self, rss_bytes: int, limit_bytes: int, status: Status, *, due: bool) -> None:
        """Take in a reading of resident memory; prepare last words when the limit is near, say them at it.

        Args:
            rss_bytes: The reading, which the approach has taken in.
            limit_bytes: The limit that kills.
            status: What was published at the last sample.
            due: The mark has been crossed.
        """
        if due:
            if self._ready_bytes < PREPARED_SHARE * limit_bytes:  # it came in a leap
                self._prepare(rss_bytes, limit_bytes, status)
            self._say(rss_bytes, limit_bytes)
        elif self._approach.near(rss_bytes, limit_bytes):
            self._prepare(rss_bytes, limit_bytes, status)

    def _prepare(self, rss_bytes: int, limit_bytes: int, status: Status) -> None:
        """Everything but the opening of the sentence, and the threads."""
        self._ready_bytes = rss_bytes
        self._clauses = self._known(status)
        sentence = "; ".join((opening(rss_bytes, limit_bytes), *self._clauses))
        if self._keeper is not None:
            self._keeper.prepare(sentence)
        if self._alerts is not None:
            self._notice = self._make_notice(rss_bytes, limit_bytes, status)
            self._errands.warm_up()

    def _known(self, status: Status) -> tuple[str, ...]:
        clauses: list[str] = []
        if status.growth_bytes_per_hour > 0.0:
            since_s = self._leak.onset_s if self._leak is not None else None
            clauses.append(growth_clause(status.growth_bytes_per_hour, since_s, status.sample.time_s))
        diagnosis = self._diagnosis
        if diagnosis is not None and self._leak is not None:
            from otel_memleak.messages import diagnosis_sentence

            clauses.append(diagnosis_sentence(diagnosis))
        return tuple(clauses)

    def _make_notice(
        self, rss_bytes: int, limit_bytes: int, status: Status
    ) -> tuple[Notice, LeakAlert | None] | None:
        from otel_memleak.emission.notice import Notice

        leak, diagnosis, now_s = self._leak, self._diagnosis, self._clock.unix_s()
        if leak is not None and diagnosis is not None and diagnosis.alert_id == leak.id:
            return Notice.of_diagnosis(diagnosis, now_s).urgent(), None
        told = leak
        if told is None and status.growth_bytes_per_hour > 0.0:
            told = self._rss
        if told is None:
            return None
        alert = replace(
            told,
            severity="critical",
            time_s=status.sample.time_s,
            rss_bytes=float(rss_bytes),
            limit_bytes=float(limit_bytes),
            time_to_limit_s=status.time_to_limit_s,
        )
        return Notice.of_alert(alert, None, now_s), alert

    def _say(self, rss_bytes: int, limit_bytes: int) -> None:
        notice, self._notice, self._ready_bytes = self._notice, None, 0
        # To the disk first: its thread is at work while the record is made.
        if self._keeper is not None:
            self._keeper.save_last_words()
        if self._alerts is None:
            return
        if notice is not None:
            body = "; ".join((opening(rss_bytes, limit_bytes), *self._clauses))
            attributes = notice[0].attributes
            if semconv.PROCESS_RSS in attributes:
                attributes[semconv.PROCESS_RSS] = rss_bytes
            self._alerts.send(notice[0]._replace(body=body, unix_time_s=self._clock.unix_s()))
            if notice[1] is not None:
                self._count(notice[1])
        alerts = self._alerts
        self._errands.run("flushing the SDK", lambda: alerts.flush(FLUSH_TIMEOUT_MS))
