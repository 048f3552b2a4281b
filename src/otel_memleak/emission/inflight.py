"""Which entry-point spans are open right now, so that an alert can be seen inside them."""

from __future__ import annotations

from typing import Final

from opentelemetry.sdk.trace import Span
from opentelemetry.trace import TracerProvider, get_tracer_provider

from otel_memleak import entry_spans
from otel_memleak.entry_spans import CAPACITY
from otel_memleak.per_provider import PerProvider

__all__ = ["CAPACITY", "InflightSpans", "attach"]


class InflightSpans:
    """Local-root spans (no parent, or a parent in another process) while they are open.

    `enabled` switches it on and off; switched off, it holds nothing.

    Args:
        spans: Remembers the entries of a provider.
    """

    def __init__(self, spans: entry_spans.EntrySpans) -> None:
        self._entries = spans
        self._opened = entry_spans.OpenSpans()

    @property
    def enabled(self) -> bool:
        """Whether spans are remembered."""
        return self._entries.opened is not None

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._entries.opened = self._opened if value else None
        self._entries.attentive = True
        self._opened.forget()

    def attend(self, attentive: bool) -> None:
        """Whether to remember spans that begin from now on; those that are open stay remembered."""
        self._entries.attentive = attentive

    def tidy(self) -> None:
        """Forget what has ended, if that is worth it and no span has begun that did it."""
        self._opened.tidy()

    def longest_running(self, count: int) -> list[Span]:
        """At most ``count`` open local roots that record, the oldest first."""
        return sorted(self._opened.sweep(), key=lambda span: span.start_time or 0)[:count]

    def __len__(self) -> int:
        return len(self._opened.sweep())


_attached: Final[PerProvider[InflightSpans]] = PerProvider()


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
