"""What head sampling drops: spans no processor ever sees, though their requests were served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

Dropped = Callable[[Context | None, str, SpanKind | None, Any], None]

_DROP: Final = Decision.DROP
_DELEGATES: Final = (
    "_root",
    "_remote_parent_sampled",
    "_remote_parent_not_sampled",
    "_local_parent_sampled",
    "_local_parent_not_sampled",
)


class SamplerTap:
    """Hears of every span a sampler drops, without a say in the decision.

    Of a `ParentBased` sampler, which is the default, only the delegates that can drop are listened to: where
    everything is sampled, listening then costs nothing. Of any other sampler the method is replaced on the
    one object, because every tracer of the provider holds that object, also those that were made before us.
    Attributes are set one by one, because an object that is asked for its dictionary is slower from then on,
    for every span. The way back is exact, unless someone has put a wrapper of theirs on top meanwhile: then
    ours stays below it and only passes on.

    Args:
        sampler: Of the provider; it has a dictionary to put a method in.
        dropped: Called with parent context, name, kind and attributes of each span that was dropped.
    """

    def __init__(self, sampler: Sampler, dropped: Dropped) -> None:
        self._sampler = sampler
        self._ears: dict[str, _Ear] = {}
        if _asks_its_delegates(sampler):
            for name in _DELEGATES:
                delegate = getattr(sampler, name)
                if not _drops_nothing(delegate):
                    self._ears[name] = ear = _Ear(delegate, dropped)
                    setattr(sampler, name, ear)
        elif not _drops_nothing(sampler):
            ear = self._ears["should_sample"] = _Ear(sampler, dropped)
            ear.wrapper = ear.should_sample
            setattr(sampler, "should_sample", ear.wrapper)  # noqa: B010 - mypy: no method is assigned to

    def close(self) -> None:
        """Put the sampler back as it was."""
        for name, ear in self._ears.items():
            ear.dropped = None
            found = getattr(self._sampler, name, None)
            if name == "should_sample":
                if found is ear.wrapper:
                    delattr(self._sampler, name)
            elif found is ear:
                setattr(self._sampler, name, ear.sampler)
        self._ears.clear()


class _Ear(Sampler):
    """Decides as another sampler does, and tells of what that dropped."""

    def __init__(self, sampler: Sampler, dropped: Dropped) -> None:
        self.sampler = sampler
        self.dropped: Dropped | None = dropped
        self.wrapper: object = None
        self._decide = sampler.should_sample

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Any = None,
        *rest: Any,
        **more: Any,
    ) -> SamplingResult:
        """The other's decision."""
        result = self._decide(parent_context, trace_id, name, kind, attributes, links, *rest, **more)
        if result.decision is _DROP and self.dropped is not None:
            self.dropped(parent_context, name, kind, attributes)
        return result

    def get_description(self) -> str:
        """The other's."""
        return self.sampler.get_description()


def _asks_its_delegates(sampler: Sampler) -> bool:
    """Whether this is a `ParentBased`, or one that is put together differently but decides as that does."""
    return (
        isinstance(sampler, ParentBased)
        and type(sampler).should_sample is ParentBased.should_sample
        and all(hasattr(sampler, name) for name in _DELEGATES)
    )


def _drops_nothing(sampler: Sampler) -> bool:
    """Whether every span is recorded anyway."""
    return sampler.get_description() == "AlwaysOnSampler"
