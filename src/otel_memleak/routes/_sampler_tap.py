"""What head sampling drops: spans no processor ever sees, though their requests were served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

Dropped = Callable[[Context | None, str, SpanKind | None, Any], None]

_DROP: Final = Decision.DROP


class SamplerTap:
    """Hears of every span a sampler drops, without a say in the decision.

    The method is replaced on the one sampler object, because every tracer of the provider holds that object,
    also those that were made before us. The way back is exact, unless someone has put a wrapper of theirs on
    top meanwhile: then ours stays below it and only passes on.

    Args:
        sampler: Of the provider; it has a dictionary to put a method in.
        dropped: Called with parent context, name, kind and attributes of each span that was dropped.
    """

    def __init__(self, sampler: Sampler, dropped: Dropped) -> None:
        self._sampler = sampler
        self._dropped: Dropped | None = dropped
        original = sampler.should_sample

        def should_sample(
            parent_context: Context | None,
            trace_id: int,
            name: str,
            kind: SpanKind | None = None,
            attributes: Any = None,
            links: Any = None,
            *rest: Any,
        ) -> SamplingResult:
            result = original(parent_context, trace_id, name, kind, attributes, links, *rest)
            if result.decision is _DROP and self._dropped is not None:
                self._dropped(parent_context, name, kind, attributes)
            return result

        self._wrapper = should_sample
        vars(sampler)["should_sample"] = should_sample

    def close(self) -> None:
        """Put the sampler back as it was."""
        self._dropped = None
        if vars(self._sampler).get("should_sample") is self._wrapper:
            del vars(self._sampler)["should_sample"]


def drops_nothing(sampler: Sampler) -> bool:
    """Whether every span is recorded anyway."""
    return sampler.get_description() == "AlwaysOnSampler"
