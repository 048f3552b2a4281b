"""The spans at which a process is entered: requests, messages, tasks, timers. One processor for all.

Every span of the application passes a processor twice, and most are not entries: the SELECTs and calls inside
a request. They are turned away here, once and in as few steps as Python allows, whoever listens.
"""

from __future__ import annotations

from typing import Final, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, TracerProvider

from otel_memleak.per_provider import PerProvider

_SERVER: Final = SpanKind.SERVER
_CONSUMER: Final = SpanKind.CONSUMER
_IS_REMOTE: Final = 2


class Listener(Protocol):
    """Hears of entries; called in the request path, so quick, and never to raise."""

    def started(self, span: Span) -> None:
        """An entry has begun."""
        ...

    def ended(self, span: ReadableSpan) -> None:
        """It has ended. This is another object than the one that was started."""
        ...


class EntrySpans(SpanProcessor):
    """Tells its listeners of SERVER and CONSUMER spans and of local roots (no parent, or one elsewhere).

    The SDK has no way to remove a processor; without listeners this one does nothing.
    """

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()

    def add(self, listener: Listener) -> None:
        """Tell this one, too; telling it already is fine."""
        if listener not in self._listeners:
            self._listeners = (*self._listeners, listener)

    def remove(self, listener: Listener) -> None:
        """Tell this one no more."""
        self._listeners = tuple(other for other in self._listeners if other is not listener)

    # Fields instead of properties, an index instead of `is_remote`, the test written out twice instead of a
    # function of its own: each would cost half as much again as all the rest. A SpanContext is a tuple by its
    # documented type, and the fields are as old as the SDK.

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell of an entry that begins."""
        parent = span._parent
        if parent is not None and not parent[_IS_REMOTE]:
            kind = span._kind
            if kind is not _SERVER and kind is not _CONSUMER:
                return
        for listener in self._listeners:
            listener.started(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Tell of an entry that ends."""
        parent = span._parent
        if parent is not None and not parent[_IS_REMOTE]:
            kind = span._kind
            if kind is not _SERVER and kind is not _CONSUMER:
                return
        for listener in self._listeners:
            listener.ended(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """There is nothing to flush; the base class of the SDK's first releases says that it failed."""
        return True


_attached: Final = PerProvider[EntrySpans]()


def attach(provider: TracerProvider) -> EntrySpans | None:
    """The processor of this provider, attached at the first call.

    Returns:
        None for a provider that takes no processors, such as the proxy before an SDK is configured.
    """
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        return None

    def make() -> EntrySpans:
        processor = EntrySpans()
        add(processor)
        return processor

    return _attached.get(provider, make)
