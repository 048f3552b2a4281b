"""Which trace a point of ``memleak.alerts`` leads to: that of the alert, else one of a request that leaks.

The point of a count that an alert has raised carries it as its exemplar until the incident is over, so that
one click leads from the metric to the alert, and by its links to requests of the endpoint that leaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from otel_memleak import semconv
from otel_memleak.records import NamedTuple

if TYPE_CHECKING:
    from otel_memleak.emission.attributes import AttributeValue

_KEYS: Final = (semconv.ALERT_SEVERITY, semconv.ALERT_REASON)


class _Known(NamedTuple):
    alert_id: object
    context: Context


class Exemplars:
    """One context for each severity and reason, so never many. Holds ids, no span."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], _Known] = {}

    def remember(self, attributes: dict[str, AttributeValue], span: SpanContext) -> None:
        """Take note of where an event that is counted leads.

        Args:
            attributes: Of the event; without severity and reason it is not counted.
            span: Where a click is to lead; one that is not sampled leads nowhere and is passed over.
        """
        alert_id = attributes.get(semconv.ALERT_ID)
        key = tuple(attributes.get(name) for name in _KEYS)
        if None not in key and span.trace_flags.sampled:
            self._known[key] = _Known(alert_id, set_span_in_context(NonRecordingSpan(span), Context()))

    def forget(self, alert_id: object = None) -> None:
        """The incident is over; without an id, all are."""
        kept = {key: known for key, known in self._known.items() if known.alert_id != alert_id}
        self._known = kept if alert_id is not None else {}

    def context(self, attributes: dict[str, str]) -> Context | None:
        """Of the last alert that raised the count with these attributes."""
        known = self._known.get(tuple(attributes.get(name) for name in _KEYS))
        return known.context if known is not None else None
