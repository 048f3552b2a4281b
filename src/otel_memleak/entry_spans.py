"""The spans at which a process is entered: requests, messages, tasks, timers. One processor for all.

The SDK calls a processor three times for every span of the application, and most spans are no entries: the
SELECTs and calls inside a request. They are turned away here, once and in as few steps as Python allows.
What is done for an entry is written out rather than handed to a list of listeners, and reads fields where the
SDK offers properties: each detour would cost as much as the work. A SpanContext is a tuple by its documented
type, and the fields are as old as the SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from weakref import ref

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, TracerProvider

from otel_memleak import forks
from otel_memleak.guard import Guard
from otel_memleak.per_provider import PerProvider

CAPACITY: Final = 1024
"""Open entries remembered at most."""

_SERVER: Final = SpanKind.SERVER
_CONSUMER: Final = SpanKind.CONSUMER
_SPAN_ID: Final = 1
_IS_REMOTE: Final = 2
_mark: Final = forks.mark


class EntrySpans(SpanProcessor):
    """Remembers the local roots that are open, and tells of entries that end.

    Local roots have no parent, or one in another process; entries are these and all SERVER and CONSUMER
    spans. The SDK has no way to remove a processor; with nothing to remember and nobody to tell this one does
    nothing.
    """

    def __init__(self) -> None:
        self.guard = Guard()
        """Takes note of failures; nothing is raised into the application."""
        self.opened: dict[int, ref[Span]] | None = None
        """Local roots that are open, by span id, because what ends is another object; None: not remembered.

        Held weakly, so that a span which is never ended is no leak of ours. A dictionary's single operations
        are atomic, so there is no lock in the request path.
        """
        self.ended: Callable[[ReadableSpan], None] | None = None
        """Told of each entry that has ended."""
        self._began: Callable[[Span], None] | None = None

    @property
    def began(self) -> Callable[[Span], None] | None:
        """Told of each entry that begins. Seldom wanted, so until then it costs nothing: another class."""
        return self._began

    @began.setter
    def began(self, listener: Callable[[Span], None] | None) -> None:
        self._began = listener
        self.__class__ = EntrySpans if listener is None else _FromTheStart

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember a local root."""
        try:
            parent = span._parent
            if parent is None or parent[_IS_REMOTE]:
                # uWSGI: the first request of a worker may be the first thing Python does there.
                if not _mark[0]:
                    forks.notice()
                opened = self.opened
                if opened is not None and (len(opened) < CAPACITY or _has_room(opened)):
                    opened[span._context[_SPAN_ID]] = ref(span)  # type: ignore[index]
        except Exception as error:
            self.guard.swallow("looking at a span that begins", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Forget a local root, and tell of an entry."""
        try:
            kind = span._kind
            if kind is not _SERVER and kind is not _CONSUMER:
                parent = span._parent
                if parent is not None and not parent[_IS_REMOTE]:
                    return
            if self.opened:
                self.opened.pop(span._context[_SPAN_ID], None)  # type: ignore[index]
            if self.ended is not None:
                self.ended(span)
        except Exception as error:
            self.guard.swallow("looking at a span that ends", error)


class _FromTheStart(EntrySpans):
    """Tells of entries also when they begin."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember a local root, and tell of an entry."""
        super().on_start(span, parent_context)
        try:
            parent, kind, began = span._parent, span._kind, self._began
            local = parent is not None and not parent[_IS_REMOTE]
            if began is not None and (not local or kind is _SERVER or kind is _CONSUMER):
                began(span)
        except Exception as error:
            self.guard.swallow("looking at a span that begins", error)


def _has_room(opened: dict[int, ref[Span]]) -> bool:
    """Whether there is room again when those that were forgotten without an end are dropped."""
    for key, known in tuple(opened.items()):
        if known() is None:
            opened.pop(key, None)
    return len(opened) < CAPACITY


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
