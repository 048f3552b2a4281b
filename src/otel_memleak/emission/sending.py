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

from otel_memleak import semconv
from otel_memleak.emission import log_records
from otel_memleak.emission.exemplars import Exemplars
from otel_memleak.guard import say_quietly
from otel_memleak.per_provider import PerProvider
from otel_memleak.version import __version__
from otel_memleak.wording import LONGEST_SENTENCE, plain

if TYPE_CHECKING:
    from otel_memleak.emission.notice import Notice
    from otel_memleak.settings import AlertTarget

_LOG_LEVELS: Final = {
    SeverityNumber.INFO: logging.INFO,
    SeverityNumber.WARN: logging.WARNING,
    SeverityNumber.ERROR: logging.ERROR,
}

_tracers: Final[PerProvider[Tracer]] = PerProvider()
_loggers: Final[PerProvider[Logger]] = PerProvider()


class Sender:
    """Sends notices through the given providers, or through the global ones as they are at that moment.

    Args:
        targets: Signals to send.
        tracer_provider: None for the global one.
        logger_provider: None for the global one.
    """

    def __init__(
        self,
        targets: tuple[AlertTarget, ...],
        tracer_provider: TracerProvider | None,
        logger_provider: LoggerProvider | None,
    ) -> None:
        self._targets = targets
        self._tracer_provider = tracer_provider
        self._logger_provider = logger_provider
        self.exemplars = Exemplars()
        """Traces that the counts of alerts lead to."""

    def send(self, notice: Notice, marked: Sequence[Span], related: Sequence[SpanContext]) -> None:
        """Send one notice as every wanted signal.

        Where no SDK takes the log record, the sentence goes to the ``otel_memleak`` logger of the standard
        library instead, so that a process without a backend is not silent.

        Args:
            notice: What to say.
            marked: Spans in flight, which get the event and are linked from the root span.
            related: Spans elsewhere to link from the root span, e.g. requests of a route that leaks.
        """
        notice = notice._replace(body=plain(notice.body, LONGEST_SENTENCE))
        context = Context()
        delivered = False
        if "span_event" in self._targets:
            span = self._send_span(notice, marked, related)
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

    def _send_span(self, notice: Notice, marked: Sequence[Span], related: Sequence[SpanContext]) -> Span:
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
