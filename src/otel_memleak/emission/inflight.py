"""Which entry-point spans are open right now, so that an alert can be seen inside them.

A span that is never ended must not become a leak of ours: spans are held weakly, and only so many.
"""

from __future__ import annotations

import weakref
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import TracerProvider, get_tracer_provider

from otel_memleak import entry_spans, forks
from otel_memleak.per_provider import PerProvider

CAPACITY: Final = 1024
"""Spans remembered at most; an event goes to a handful of them, so more would say nothing new."""


class InflightSpans:
    """Remembers local-root spans (no parent, or a parent in another process) while they are open.

    `enabled` switches it on and off; switched off, it holds nothing.
    A dictionary's single operations are atomic under CPython's lock and internally locked without it, so
    none is added here: this runs in the application's request path.

    Args:
        spans: Tells of the entries of a provider.
    """

    def __init__(self, spans: entry_spans.EntrySpans) -> None:
        self._entries = spans
        self._spans: dict[int, weakref.ref[Span]] = {}
        self._enabled = False

    @property
    def enabled(self) -> bool:
        """Whether spans are remembered."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = value
        if value:
            self._entries.add(self)
        else:
            self._entries.remove(self)
        self._spans.clear()

    def started(self, span: Span) -> None:
        """Remember a local root."""
        forks.notice()  # uWSGI: the first request of a worker may be the first thing Python does there
        parent = span._parent
        if parent is None or parent.is_remote:
            if len(self._spans) >= CAPACITY:
                self._drop_dead()
                if len(self._spans) >= CAPACITY:
                    return
            # By id: what ends is another object for the same span.
            self._spans[span.get_span_context().span_id] = weakref.ref(span)

    def ended(self, span: ReadableSpan) -> None:
        """Forget it."""
        if self._spans and (context := span._context) is not None:
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


def attach(provider: TracerProvider | None) -> InflightSpans | None:
    """The memory of this provider, made at the first call.

    Args:
        provider: None for the global one.

    Returns:
        None for a provider that takes no processors, such as the proxy before an SDK is configured.
    """
    provider = provider or get_tracer_provider()
    entries = entry_spans.attach(provider)
    return _attached.get(provider, lambda: InflightSpans(entries)) if entries is not None else None
