"""Which entry-point spans are open right now, so that an alert can be seen inside them.

A span that is never ended must not become a leak of ours: spans are held weakly, and only so many.
"""

from __future__ import annotations

import weakref
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import TracerProvider

from otel_memleak import forks
from otel_memleak.per_provider import PerProvider

CAPACITY: Final = 1024
"""Spans remembered at most; an event goes to a handful of them, so more would say nothing new."""


class InflightSpans(SpanProcessor):
    """Remembers local-root spans (no parent, or a parent in another process) while they are open.

    The SDK has no way to remove a processor: `enabled` switches this one off, and it then holds nothing.
    A dictionary's single operations are atomic under CPython's lock and internally locked without it, so
    none is added here: this runs in the application's request path.
    """

    def __init__(self) -> None:
        self._spans: dict[int, weakref.ref[Span]] = {}
        self._enabled = False

    @property
    def enabled(self) -> bool:
        """Whether spans are remembered."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = value
        self._spans.clear()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember a local root."""
        if not self._enabled:
            return
        forks.notice()  # uWSGI: the first request of a worker may be the first thing Python does there
        parent = span.parent
        if parent is None or parent.is_remote:
            if len(self._spans) >= CAPACITY:
                self._drop_dead()
                if len(self._spans) >= CAPACITY:
                    return
            # By id: on_end is given another object for the same span.
            self._spans[span.get_span_context().span_id] = weakref.ref(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Forget it."""
        if self._spans and (context := span.get_span_context()) is not None:
            self._spans.pop(context.span_id, None)

    def longest_running(self, count: int) -> list[Span]:
        """At most ``count`` open local roots that record, the oldest first."""
        open_spans = [span for ref in tuple(self._spans.values()) if (span := ref()) is not None]
        recording = [span for span in open_spans if span.is_recording()]
        return sorted(recording, key=lambda span: span.start_time or 0)[:count]

    def _drop_dead(self) -> None:
        for key, ref in tuple(self._spans.items()):
            if ref() is None:
                self._spans.pop(key, None)

    def __len__(self) -> int:
        return len(self._spans)


_attached: Final = PerProvider[InflightSpans]()


def attach(provider: TracerProvider) -> InflightSpans | None:
    """The processor of this provider, attached at the first call.

    Returns:
        None for a provider that takes no processors, such as the proxy before an SDK is configured.
    """
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        return None

    def make() -> InflightSpans:
        processor = InflightSpans()
        add(processor)
        return processor

    return _attached.get(provider, make)
