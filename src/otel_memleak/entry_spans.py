"""The spans at which a process is entered: requests, messages, tasks, timers. One processor for all.

The SDK calls a processor three times for every span of the application, and most spans are no entries: the
SELECTs and calls inside a request. They are turned away here, once and in as few steps as Python allows.
What is done for an entry is written out rather than handed to a list of listeners, and reads fields where the
SDK offers properties: each detour would cost as much as the work. A SpanContext is a tuple by its documented
type, and the fields are as old as the SDK.

A method that is wanted now and then only is another class's, and the processor changes its class: in the
meantime there is an empty one, which does not even ask.
"""

from __future__ import annotations

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

Steps = tuple[Callable[[], int], Callable[[SpanContext | None], None]]
"""What there is to do for a call: count it, and take its context. Neither is Python code."""

_SWEPT_AFTER: Final = 64

_SERVER: Final = SpanKind.SERVER
_CONSUMER: Final = SpanKind.CONSUMER
_IS_REMOTE: Final = 2
_mark: Final = forks.mark


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
    """Counts entries that end, and remembers the local roots that are open.

    Local roots have no parent, or one in another process; entries are these and all SERVER and CONSUMER
    spans. The SDK has no way to remove a processor; with nothing to remember and nobody to tell this one does
    nothing.
    """

    # The interpreter remembers where instance attributes are by class, and this one changes; slots stay.
    __slots__ = ("_attentive", "_began", "ended", "guard", "opened", "steps")

    def __init__(self) -> None:
        self.guard = Guard()
        """Takes note of failures; nothing is raised into the application."""
        self.ended: Callable[[ReadableSpan], None] | None = None
        """Told of each entry that has ended, unless its name has steps."""
        self.steps: Final[dict[str, Steps]] = {}
        """What to do, instead, for entries of a name that need not be looked at."""
        self.opened: OpenSpans | None = None
        """Where open local roots are remembered; None: not at all."""
        self._attentive = True
        self._began: Callable[[Span], None] | None = None

    @property
    def attentive(self) -> bool:
        """Whether local roots that begin from now on are remembered, too; those that are open stay so."""
        return self._attentive

    @attentive.setter
    def attentive(self, attentive: bool) -> None:
        if attentive is not self._attentive:
            self._attentive = attentive
            self._change()

    @property
    def began(self) -> Callable[[Span], None] | None:
        """Told of each entry that begins."""
        return self._began

    @began.setter
    def began(self, listener: Callable[[Span], None] | None) -> None:
        self._began = listener
        self._change()

    def _change(self) -> None:
        """Be of the class that does what is wanted and no more."""
        kind = EntrySpans if self._attentive else _AtTheEnd
        if self._began is not None:
            kind = _FromTheStart
        setattr(self, "__class__", kind)  # noqa: B010 - to the checkers a class is for life

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember a local root."""
        try:
            parent = span._parent
            if parent is not None and not parent[_IS_REMOTE]:
                return
            # uWSGI: the first request of a worker may be the first thing Python does there.
            if not _mark[0]:
                forks.notice()
            opened = self.opened
            if opened is not None:
                opened.refs.append(ref(span))
                opened.tidy()
        except Exception as error:
            self.guard.swallow("looking at a span that begins", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Count an entry, or tell of it."""
        try:
            parent = span._parent
            if parent is not None and not parent[_IS_REMOTE]:
                kind = span._kind
                if kind is not _SERVER and kind is not _CONSUMER:
                    return
            steps = self.steps.get(span._name)
            if steps is not None:
                steps[0]()
                steps[1](span._context)
            elif self.ended is not None:
                self.ended(span)
        except Exception as error:
            self.guard.swallow("looking at a span that ends", error)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits here; what the base class of the first SDKs returns means that it failed."""
        return True


class _AtTheEnd(EntrySpans):
    """Looks at ends only."""

    __slots__ = ()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """What begins is not remembered."""


class _FromTheStart(EntrySpans):
    """Tells of all entries, also when they begin."""

    __slots__ = ()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember a local root, and tell of an entry."""
        if self._attentive:
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
