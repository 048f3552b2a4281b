"""The spans at which a process is entered: requests, messages, tasks, timers. One processor for all.

The SDK calls a processor three times for every span of the application, and most spans are no entries: the
SELECTs and calls inside a request. They are turned away here, once and in as few steps as Python allows.
What is done for an entry is written out rather than handed to a list of listeners, and reads fields where the
SDK offers properties: each detour would cost as much as the work. A SpanContext is a tuple by its documented
type, and the fields are as old as the SDK. Even an index into it leads through code that nobody else keeps in
the processor's cache, so the parent of an inner span is first compared with the context of the latest entry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import ref

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, TracerProvider

from otel_memleak import forks
from otel_memleak.guard import Guard
from otel_memleak.per_provider import PerProvider
from otel_memleak.threads import new_lock

CAPACITY: Final = 1024
"""Open local roots remembered at most."""

MANY: Final = 64
"""Calls of one name put down before somebody settles them."""

_SWEPT_AFTER: Final = MANY

_SERVER: Final = SpanKind.SERVER
_CONSUMER: Final = SpanKind.CONSUMER
_IS_REMOTE: Final = 2
_mark: Final = forks.mark
_NONE_YET: Final = SpanContext(0, 0, is_remote=False)


class OpenSpans:
    """Local roots that are open, held weakly, so that one which is never ended is no leak of ours.

    A beginning is appended and nothing is done at an end, because a dictionary from which every request takes
    out what it has put in is made anew every few requests, at the price of everything else. Instead what has
    ended is swept out now and then, a few nanoseconds for each: often, because memory that comes back soon is
    still in the cache, but no more often than there is as much to sweep as to keep.
    """

    def __init__(self) -> None:
        self.refs: Final[list[ref[Span]]] = []
        self._enough = _SWEPT_AFTER
        self._lock = new_lock()

    def tidy(self) -> None:
        """Sweep if as many more have begun as were kept, and 64; to be called now and then for ever."""
        if len(self.refs) >= self._enough:
            self.sweep()

    def sweep(self) -> list[Span]:
        """Forget what has ended and what is too much; return what is left, in order of beginning."""
        if not self._lock.acquire(blocking=False):  # whoever is sweeping already does it for everybody
            return _recording(self.refs[:])
        try:
            known = len(self.refs)
            spans = _recording(self.refs[:known])
            # In one step, since other threads append meanwhile.
            self.refs[:known] = [ref(span) for span in spans]
            self._enough = 2 * len(spans) + _SWEPT_AFTER
            return spans
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Hold nothing."""
        self._lock = new_lock()  # in a forked child nobody may be left to release it
        self.refs.clear()


def _recording(refs: list[ref[Span]]) -> list[Span]:
    return [span for known in refs if (span := known()) is not None and span.is_recording()][:CAPACITY]


class EntrySpans(SpanProcessor):
    """Remembers the local roots that are open, and counts entries that end.

    Local roots have no parent, or one in another process; entries are these and all SERVER and CONSUMER
    spans. The SDK has no way to remove a processor; with nothing to remember and nobody to tell this one does
    nothing.
    """

    def __init__(self) -> None:
        self.guard = Guard()
        """Takes note of failures; nothing is raised into the application."""
        self.ended: Callable[[ReadableSpan], None] | None = None
        """Told of each entry that has ended and is not put down."""
        self.put_down: Final[dict[str, deque[SpanContext | None]]] = {}
        """Names of entries that need not be looked at: their contexts are put down here."""
        self.settle: Callable[[], None] | None = None
        """Called when 64 of a name have been put down."""
        self._opened: OpenSpans | None = None
        self._remember: Callable[[ref[Span]], None] | None = None
        # Of the latest local root, so its children are none; never None, which is the parent of roots.
        self._local: SpanContext | None = _NONE_YET
        self._began: Callable[[Span], None] | None = None

    @property
    def opened(self) -> OpenSpans | None:
        """Where open local roots are remembered; None: not at all."""
        return self._opened

    @opened.setter
    def opened(self, opened: OpenSpans | None) -> None:
        self._opened = opened
        self._remember = opened.refs.append if opened is not None else None
        self._local = _NONE_YET

    @property
    def began(self) -> Callable[[Span], None] | None:
        """Told of each entry that begins. Seldom wanted, so until then it costs nothing: another class."""
        return self._began

    @began.setter
    def began(self, listener: Callable[[Span], None] | None) -> None:
        self._began = listener
        kind = EntrySpans if listener is None else _FromTheStart
        setattr(self, "__class__", kind)  # noqa: B010 - to the checkers a class is for life

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember a local root."""
        try:
            parent = span._parent
            if parent is self._local or (parent is not None and not parent[_IS_REMOTE]):
                return
            # uWSGI: the first request of a worker may be the first thing Python does there.
            if not _mark[0]:
                forks.notice()
            remember = self._remember
            if remember is not None:
                self._local = span._context
                remember(ref(span))
        except Exception as error:
            self.guard.swallow("looking at a span that begins", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Count an entry, or tell of it."""
        try:
            parent = span._parent
            if parent is self._local or (parent is not None and not parent[_IS_REMOTE]):
                kind = span._kind
                if kind is not _SERVER and kind is not _CONSUMER:
                    return
            waiting = self.put_down.get(span._name)
            if waiting is not None:
                waiting.append(span._context)
                if len(waiting) < MANY:
                    return
                if self.settle is not None:
                    self.settle()
            elif self.ended is not None:
                self.ended(span)
            if self._opened is not None:
                self._opened.tidy()
        except Exception as error:
            self.guard.swallow("looking at a span that ends", error)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits here; what the base class of the first SDKs returns means that it failed."""
        return True


class _FromTheStart(EntrySpans):
    """Tells of all entries, also when they begin."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember a local root, and tell of an entry."""
        super().on_start(span, parent_context)
        try:
            if self._began is not None and _is_entry(span):
                self._began(span)
        except Exception as error:
            self.guard.swallow("looking at a span that begins", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Tell of an entry."""
        try:
            if self.ended is not None and _is_entry(span):
                self.ended(span)
                if self._opened is not None:
                    self._opened.tidy()
        except Exception as error:
            self.guard.swallow("looking at a span that ends", error)


def _is_entry(span: ReadableSpan) -> bool:
    parent = span._parent
    return parent is None or parent[_IS_REMOTE] or span._kind is _SERVER or span._kind is _CONSUMER


_attached: Final[PerProvider[EntrySpans]] = PerProvider()


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
