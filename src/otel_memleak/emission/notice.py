"""What is said of one alert or one diagnosis, before it is known by which signals it travels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry._logs import SeverityNumber

from otel_memleak import semconv
from otel_memleak.emission.attributes import AttributeValue, alert_attributes, diagnosis_attributes
from otel_memleak.messages import diagnosis_sentence, sentence
from otel_memleak.records import NamedTuple
from otel_memleak.types import Diagnosis, LeakAlert, LimitSource, Origin, RouteSuspect

_SEVERITIES: Final = {"warning": SeverityNumber.WARN, "critical": SeverityNumber.ERROR}


class Notice(NamedTuple):
    """One thing to say, whatever signal it travels as.

    Attributes:
        event: Event name.
        body: The sentence for people.
        attributes: Flat attributes, the same on every signal.
        severity: Of the log record; an error also marks the root span.
        unix_time_s: When it was decided, in seconds.
    """

    event: str
    body: str
    attributes: dict[str, AttributeValue]
    severity: SeverityNumber
    unix_time_s: float

    @property
    def timestamp_ns(self) -> int:
        """The time as OpenTelemetry wants it."""
        return int(self.unix_time_s * 1e9)

    @classmethod
    def of_alert(
        cls,
        alert: LeakAlert,
        limit_source: LimitSource | None,
        unix_time_s: float,
        routes: Sequence[RouteSuspect] = (),
        origin: Origin | None = None,
    ) -> Notice:
        """An alert; ``limit_source`` says in the sentence who set the limit."""
        resolved = alert.event == semconv.EVENT_RESOLVED
        return cls(
            alert.event,
            sentence(alert, limit_source, routes),
            alert_attributes(alert, routes, origin),
            SeverityNumber.INFO if resolved else _SEVERITIES[alert.severity],
            unix_time_s,
        )

    @classmethod
    def of_diagnosis(cls, diagnosis: Diagnosis, unix_time_s: float) -> Notice:
        """A diagnosis; a warning, because what is below one is often dropped on the way."""
        return cls(
            semconv.EVENT_DIAGNOSIS,
            diagnosis_sentence(diagnosis),
            diagnosis_attributes(diagnosis),
            SeverityNumber.WARN,
            unix_time_s,
        )

    def urgent(self) -> Notice:
        """The same, as an error."""
        return self._replace(severity=SeverityNumber.ERROR)
