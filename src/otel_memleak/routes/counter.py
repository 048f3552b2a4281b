"""Counts the entry-point spans that end, and those that sampling never let begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanContext, SpanKind, TracerProvider, get_current_span

from otel_memleak import entry_spans
from otel_memleak.guard import Guard
from otel_memleak.per_provider import PerProvider
from otel_memleak.routes import names
from otel_memleak.routes._sampler_tap import Counts, SamplerTap
from otel_memleak.routes.tally import RouteTally, shared_tally
from otel_memleak.semconv import SCOPE

_SERVER: Final = SpanKind.SERVER
_CONSUMER: Final = SpanKind.CONSUMER
_INTERNAL: Final = SpanKind.INTERNAL
_OPEN_REMEMBERED: Final = 1024
_NAMES_REMEMBERED: Final = 64
_ENDS_REMEMBERED: Final = 16  # more smear the mix of traffic over time, fewer know it too roughly


class RouteCounter:
    """Counts SERVER and CONSUMER spans and local roots (no parent, or one in another process), by name.

    **Sampling.** A span processor is told of recorded spans only, so under a head sampler its counts would be
    a sample, and under ``parentbased`` one that others choose. Spans that are dropped are therefore counted
    when the sampler drops them, by what is known at that moment. Most instrumentations know the route by
    then (FastAPI, Starlette, Flask, Django, aiohttp, gRPC, Celery). Where it becomes known later, a dropped
    span is counted under the name that recorded spans with the same beginning ended with, in their
    proportions. Nothing is recorded that was not going to be, and no decision is changed. A sampler that
    cannot be listened to leaves the counts a sample: see :attr:`approximate`.

    Args:
        spans: Tells of the entries of a provider.
        tally: Where the calls are counted.
        guard: Takes note of failures; nothing is raised into the application.
    """

    def __init__(self, spans: entry_spans.EntrySpans, tally: RouteTally, guard: Guard) -> None:
        self._entries = spans
        self._tally = tally
        self._guard = guard
        self._enabled = False
        self._sampler: Sampler | None = None
        self._tap: SamplerTap | None = None
        self._begun: dict[int, str] = {}
        self._endings: dict[str, deque[str]] = {}
        self._steps = spans.steps
        self._settled: Counts = {}
        self.approximate = False
        """Whether spans are dropped that this counter cannot see."""

    @property
    def enabled(self) -> bool:
        """Whether calls are counted."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if value == self._enabled:
            return
        self._enabled = value
        if value:
            self._listen()
            self._entries.ended = self.ended
            return
        self._entries.ended = self._entries.began = None
        self._steps.clear()
        if self._tap:
            self._tap.close()
        self._tap = None
        for known in (self._begun, self._endings, self._settled):
            known.clear()

    def watch(self, sampler: Sampler | None) -> None:
        """Count also what this sampler drops, while enabled."""
        self._sampler = sampler

    def counts(self) -> dict[str, int]:
        """Calls so far by name, the rest under ``(other)``."""
        return self._tally.counts()

    def recent_contexts(self, route: str) -> list[SpanContext]:
        """At most three recent sampled spans of a route, the latest first."""
        return self._tally.recent_contexts(route)

    def started(self, span: Span) -> None:
        """Remember what an entry was called at first; only while spans are being dropped."""
        if len(self._begun) >= _OPEN_REMEMBERED:
            # Spans that never end would fill it for good.
            self._begun.clear()
        try:
            begun = span.name
            if begun not in self._steps:
                begun = names.collapse(names.of_span(begun, _plain(span.attributes), span.kind is _SERVER))
            self._begun[span.get_span_context().span_id] = begun
        except Exception as error:
            self._guard.swallow("looking at a span", error)

    def ended(self, span: ReadableSpan) -> None:
        """Count an entry that is called something else than we would call it, or has not been seen before."""
        try:
            kind = span.kind
            if kind is _INTERNAL and _is_ours(span):
                return
            name, context = span.name, span.get_span_context()
            steps = self._steps.get(name)
            if steps is not None:
                steps[0]()
                steps[1](context)
            else:
                name = self._final_name(span, kind)
                self._tally.count(name, context)
            if self._begun and context is not None:
                self._learn(self._begun.pop(context.span_id, None), name)
        except Exception as error:
            self._guard.swallow("counting a span", error)

    def _listen(self) -> None:
        self.approximate = False
        if self._sampler is None:
            self.approximate = True
        else:
            self._tap = SamplerTap(self._sampler, self._settled, self._on_dropped)

    def _on_dropped(
        self, parent_context: Context | None, name: str, kind: SpanKind | None, attributes: Any
    ) -> None:
        try:
            if kind is not _SERVER and kind is not _CONSUMER:
                parent = get_current_span(parent_context).get_span_context()
                if parent.is_valid and not parent.is_remote:
                    return
            if self._entries.began is None:
                self._entries.began = self.started
            begun = name
            if name not in self._steps:
                begun = names.of_span(name, _plain(attributes), kind is _SERVER)[: names.LONGEST]
            endings = self._endings.get(begun) or self._endings.get(names.collapse(begun))
            if begun == name and "/" in name and (not endings or set(endings) == {name}):
                self._settle(name)
            if endings:
                # Each in its turn: as often as recorded spans have ended with it.
                endings.rotate()
                begun = endings[0]
            self._tally.count(begun)
        except Exception as error:
            self._guard.swallow("counting a span that was not sampled", error)

    def _settle(self, name: str) -> None:
        """Count what is dropped of this name without a further look, until one ends with another name."""
        if names.collapse(name) == name and (steps := self._tally.steps(name)) is not None:
            self._settled[name] = steps[0]

    def _final_name(self, span: ReadableSpan, kind: SpanKind) -> str:
        name = names.of_span(span.name, _plain(span.attributes), kind is _SERVER)[: names.LONGEST]
        # Most spans are called what we would call them; of those, the attributes need not be looked at again.
        if name == span.name and "/" in name and (steps := self._tally.steps(name)) is not None:
            self._steps[name] = steps
        return name

    def _learn(self, begun: str | None, ended: str) -> None:
        if begun is None:
            return
        if ended != begun:
            self._settled.pop(begun, None)
        endings = self._endings.get(begun)
        if endings is None:
            if len(self._endings) >= _NAMES_REMEMBERED:
                return
            endings = self._endings[begun] = deque(maxlen=_ENDS_REMEMBERED)
        endings.append(ended)


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == SCOPE


def _plain(attributes: Any) -> Mapping[str, object]:
    """A dictionary, if one is to be had: lookups in the SDK's own mapping cost more than all the rest."""
    try:
        copied: Mapping[str, object] = attributes.copy()
    except AttributeError:
        return attributes or {}
    return copied


_attached: Final[PerProvider[RouteCounter]] = PerProvider()


def attach(provider: TracerProvider, guard: Guard, tally: RouteTally | None = None) -> RouteCounter | None:
    """The counter of this provider, attached at the first call; enable it to count.

    Args:
        provider: Of the application.
        guard: Takes note of failures. That of the first call is kept.
        tally: Where to count; None for the one of this process. That of the first call is kept.

    Returns:
        None for a provider that takes no processors, such as the proxy before an SDK is configured.
    """
    entries = entry_spans.attach(provider)
    if entries is None:
        return None

    def make() -> RouteCounter:
        entries.guard = guard
        counter = RouteCounter(entries, tally or shared_tally(), guard)
        sampler = getattr(provider, "sampler", None)
        counter.watch(sampler if isinstance(sampler, Sampler) and type(sampler).__dictoffset__ else None)
        return counter

    return _attached.get(provider, make)
