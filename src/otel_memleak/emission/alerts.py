"""Alerts on their way out: what has to be known beforehand, and who sends them when it comes to that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanContext, TracerProvider, get_tracer_provider

from otel_memleak import forks
from otel_memleak.emission import inflight

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

    from otel_memleak.emission.exemplars import Exemplars
    from otel_memleak.emission.notice import Notice
    from otel_memleak.emission.sending import Sender
    from otel_memleak.settings import AlertTarget

MARKED_SPANS: Final = 5
"""Spans in flight that get the event and are linked from the root span: those open the longest."""


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
        self._sender: Sender | None = None

    @property
    def exemplars(self) -> Exemplars:
        """Traces that the counts of alerts lead to."""
        return self._have_sender().exemplars

    def watch_spans(self) -> None:
        """Remember the spans in flight, as soon as there is a provider to ask, and forget what has ended.

        Cheap to call again, and to be called with every sample: the SDK may be configured after us, and an
        agent may put another in its place.
        """
        if self._inflight is not None:
            self._inflight.tidy()
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

    def attend(self, attentive: bool) -> None:
        """Whether spans that begin from now on may be wanted, see :meth:`InflightSpans.attend`."""
        if self._inflight is not None:
            self._inflight.attend(attentive)

    def close(self) -> None:
        """Forget the spans in flight and remember no more."""
        self._watched = None
        if self._inflight is not None:
            self._inflight.enabled = False
            self._inflight = None
        self._forget_exemplars()

    def after_fork_in_child(self) -> None:
        """Forget the parent's open spans, which never end here, and make up for hooks that did not run."""
        if self._inflight is not None:
            self._inflight.enabled = True
        self._forget_exemplars()
        from opentelemetry._logs import get_logger_provider

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

        Args:
            notice: What to say.
            related: Spans elsewhere to link from the root span, e.g. requests of a route that leaks.
        """
        if self._targets:
            marked = self._inflight.longest_running(MARKED_SPANS) if self._inflight is not None else []
            self._have_sender().send(notice, marked, related)

    def flush(self, timeout_ms: int) -> None:
        """Have the SDK send what it holds without waiting for its interval; on a thread of its own."""
        self._have_sender().flush(timeout_ms)

    def _have_sender(self) -> Sender:
        if self._sender is None:
            from otel_memleak.emission.sending import Sender

            self._sender = Sender(self._targets, self._tracer_provider, self._logger_provider)
        return self._sender

    def _forget_exemplars(self) -> None:
        if self._sender is not None:
            self._sender.exemplars.forget()
