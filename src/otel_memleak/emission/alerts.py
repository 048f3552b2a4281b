"""One alert, every signal: a log record, an event on a root span of its own, events on the spans in flight.

All of them carry the same attributes, and the log record carries the root span's ids, so that one click
leads from any of them to the others. They go out the moment the alert is decided; batching is the SDK's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry._logs import Logger, LoggerProvider, SeverityNumber, get_logger_provider
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    get_tracer_provider,
    set_span_in_context,
)

from otel_memleak import forks, semconv
from otel_memleak.emission import inflight
from otel_memleak.emission.exemplars import Exemplars
from otel_memleak.guard import say_quietly
from otel_memleak.per_provider import PerProvider
from otel_memleak.settings import AlertTarget
from otel_memleak.version import __version__
from otel_memleak.wording import LONGEST_SENTENCE, plain

if TYPE_CHECKING:
    from otel_memleak.emission.notice import Notice

MARKED_SPANS: Final = 5
"""Spans in flight that get the event and are linked from the root span: those open the longest."""

_LOG_LEVELS: Final = {
    SeverityNumber.INFO: logging.INFO,
    SeverityNumber.WARN: logging.WARNING,
    SeverityNumber.ERROR: logging.ERROR,
}

_tracers: Final = PerProvider[Tracer]()
_loggers: Final = PerProvider[Logger]()


class Alerts:
    """Sends alerts through the given providers, or through the global ones as they are at that moment.

    Args:
        targets: Signals to send; empty for none.
        tracer_provider: None for the global one.
        logger_provider: None for the global one.
    """

    def __init__(
        self,
        targets: tuple[AlertTarget, ...],
        tracer_provider: TracerProvider | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        self._targets = targets
        self._tracer_provider = tracer_provider
        self._logger_provider = logger_provider
        self._inflight: inflight.InflightSpans | None = None
        self._watched: TracerProvider | None = None
        self.exemplars = Exemplars()
        """Traces that the counts of alerts lead to."""

    def watch_spans(self) -> None:
        """Start remembering the spans in flight, as soon as there is a provider to ask.

        Cheap to call again: the SDK may be configured after us, and an agent may put another in its place.
        """
        provider = self._tracer_provider or get_tracer_provider()
        if provider is self._watched or "span_event" not in self._targets:
            return
        found = inflight.attach(provider)
        if found is None:
            return
        if found is not self._inflight:
            self.close()
        self._inflight, self._watched = found, provider
        # Where it is enabled already, spans are remembered that must not be forgotten.
        if not found.enabled:
            found.enabled = True

    def close(self) -> None:
        """Forget the spans in flight and remember no more."""
        self._watched = None
        if self._inflight is not None:
            self._inflight.enabled = False
            self._inflight = None
        self.exemplars.forget()

    def after_fork_in_child(self) -> None:
        """Forget the parent's open spans, which never end here, and make up for hooks that did not run."""
        if self._inflight is not None:
            self._inflight.enabled = True
        self.exemplars.forget()
        from otel_memleak.emission.fork_locks import mend, revive

        for provider in (
            self._tracer_provider or get_tracer_provider(),
            self._logger_provider or get_logger_provider(),
        ):
            mend(provider)
            if forks.unnoticed():
                revive(provider)

    def send(self, notice: Notice, related: Sequence[SpanContext] = ()) -> None:
        """Send one notice as every wanted signal.

        Where no SDK takes the log record, the sentence goes to the ``otel_memleak`` logger of the standard
        library instead, so that a process without a backend is not silent.

        Args:
            notice: What to say.
            related: Spans elsewhere to link from the root span, e.g. requests of a route that leaks.
        """
        if not self._targets:
            return
        notice = notice._replace(body=plain(notice.body, LONGEST_SENTENCE))
        context = Context()
        delivered = False
        if "span_event" in self._targets:
            span = self._send_span(notice, related)
            leading = _leading_somewhere(span, related)
            context = set_span_in_context(leading, context)
            self.exemplars.remember(notice.attributes, leading.get_span_context())
            delivered = span.is_recording() and "log" not in self._targets
            span.end()
        if notice.event == semconv.EVENT_RESOLVED:
            self.exemplars.forget(notice.attributes[semconv.ALERT_ID])
        if "log" in self._targets:
            delivered = self._send_log(notice, context)
        if not delivered:
            say_quietly(_LOG_LEVELS[notice.severity], f"{notice.event}: {notice.body}")

    def flush(self, timeout_ms: int) -> None:
        """Have the SDK send what it holds without waiting for its interval; logs first.

        To be called on a thread of its own: the batch processors of the SDK take no notice of the timeout.
        """
        for provider in (
            self._logger_provider or get_logger_provider(),
            self._tracer_provider or get_tracer_provider(),
        ):
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush(timeout_ms)

    def _send_span(self, notice: Notice, related: Sequence[SpanContext]) -> Span:
        marked = self._inflight.longest_running(MARKED_SPANS) if self._inflight is not None else []
        linked = (*(other.get_span_context() for other in marked), *related)
        # An empty context, not the current one: a thread may inherit the application's, and the alert would
        # then be a child of whatever request happened to start it.
        span = self._tracer().start_span(
            notice.event,
            context=Context(),
            kind=SpanKind.INTERNAL,
            attributes=notice.attributes,
            links=[Link(other) for other in linked],
        )
        if notice.severity is SeverityNumber.ERROR:
            span.set_status(Status(StatusCode.ERROR, notice.body))
        for other in (span, *marked):
            if other.is_recording():
                other.add_event(notice.event, notice.attributes, timestamp=notice.timestamp_ns)
        return span

    def _send_log(self, notice: Notice, context: Context) -> bool:
        logger = self._logger()
        if not _enabled(logger):
            return False
        from otel_memleak.emission import log_records

        log_records.emit(
            logger,
            timestamp_ns=notice.timestamp_ns,
            context=context,
            severity=notice.severity,
            body=notice.body,
            attributes=notice.attributes,
            event_name=notice.event,
        )
        return True

    def _tracer(self) -> Tracer:
        provider = self._tracer_provider or get_tracer_provider()
        return _tracers.get(
            provider, lambda: provider.get_tracer(semconv.SCOPE, __version__, semconv.SCHEMA_URL)
        )

    def _logger(self) -> Logger:
        provider = self._logger_provider or get_logger_provider()
        return _loggers.get(
            provider, lambda: provider.get_logger(semconv.SCOPE, __version__, semconv.SCHEMA_URL)
        )


def _leading_somewhere(span: Span, related: Sequence[SpanContext]) -> Span:
    """The span of an alert; where head sampling has dropped it, a request that leaks, which was sampled."""
    if span.is_recording() or not related:
        return span
    return NonRecordingSpan(related[0])


def _enabled(logger: Logger) -> bool:
    """Whether a record would reach anybody. API releases before 1.45 cannot be asked: look for processors."""
    ask = getattr(logger, "enabled", None)
    if ask is not None:
        return bool(ask())
    real = getattr(logger, "_logger", logger)
    processors = getattr(getattr(real, "_multi_log_record_processor", None), "_log_record_processors", ())
    return bool(processors)
