"""What head sampling drops: spans no processor ever sees, though their requests were served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

Dropped = Callable[[Context | None, str, SpanKind | None, Any], None]
Counts = dict[str, Callable[[], int]]

_DROP: Final = Decision.DROP
_SERVER: Final = SpanKind.SERVER
_CONSUMER: Final = SpanKind.CONSUMER
_OF_LOCAL_ROOTS: Final = ("_root", "_remote_parent_sampled", "_remote_parent_not_sampled")
_OF_THE_INSIDE: Final = ("_local_parent_sampled", "_local_parent_not_sampled")


class SamplerTap:
    """Hears of every entry a sampler drops, without a say in the decision.

    Of a `ParentBased` sampler, which is the default, only the delegates that can drop are listened to: where
    everything is sampled, listening then costs nothing. Of any other sampler the method is replaced on the
    one object, because every tracer of the provider holds that object, also those that were made before us.
    Attributes are set one by one, because an object that is asked for its dictionary is slower from then on,
    for every span. The way back is exact, unless someone has put a wrapper of theirs on top meanwhile: then
    ours stays below it and only passes on.

    Args:
        sampler: Of the provider; it has a dictionary to put a method in.
        counts: By name, what to call for an entry that was dropped; filled by whoever is told of the others.
        dropped: Called with parent context, name, kind and attributes of each other span that was dropped and
            may be an entry.
    """

    def __init__(self, sampler: Sampler, counts: Counts, dropped: Dropped) -> None:
        self._sampler = sampler
        self._ears: dict[str, _Ear] = {}
        if _asks_its_delegates(sampler):
            for name in _OF_LOCAL_ROOTS + _OF_THE_INSIDE:
                delegate = getattr(sampler, name)
                if not _drops_nothing(delegate):
                    self._ears[name] = ear = _Ear(delegate, counts, dropped, roots=name in _OF_LOCAL_ROOTS)
                    setattr(sampler, name, ear)
        elif not _drops_nothing(sampler):
            ear = self._ears["should_sample"] = _Ear(sampler, counts, dropped)
            ear.wrapper = ear.should_sample
            setattr(sampler, "should_sample", ear.wrapper)  # noqa: B010 - mypy: no method is assigned to

    def close(self) -> None:
        """Put the sampler back as it was."""
        for name, ear in self._ears.items():
            ear.deafen()
            found = getattr(self._sampler, name, None)
            if name == "should_sample":
                if found is ear.wrapper:
                    delattr(self._sampler, name)
            elif found is ear:
                setattr(self._sampler, name, ear.sampler)
        self._ears.clear()


class _Ear(Sampler):
    """Decides as another sampler does, and tells of what that dropped.

    Args:
        sampler: The other.
        counts: What to call for an entry of a name.
        dropped: Told of the rest.
        roots: True for one that is asked about local roots only; False for one that never is, but about what
            happens inside, for which there are many spans to a request; None for one that is asked about all.
    """

    def __init__(self, sampler: Sampler, counts: Counts, dropped: Dropped, roots: bool | None = None) -> None:
        self.sampler = sampler
        self.wrapper: object = None
        self._counts = counts
        self._dropped: Dropped | None = dropped
        self._decide = sampler.should_sample
        self._only_roots = roots is True
        self._anything = roots is None

    def deafen(self) -> None:
        """Tell nobody from now on."""
        self._counts, self._dropped = {}, None

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
        if rest or more:
            result = self._decide(parent_context, trace_id, name, kind, attributes, links, *rest, **more)
        else:  # as the SDK asks; passing on what is not there costs as much as all the rest
            result = self._decide(parent_context, trace_id, name, kind, attributes, links)
        entry = kind is _SERVER or kind is _CONSUMER or self._only_roots
        if (entry or self._anything) and result.decision is _DROP:
            try:
                count = self._counts.get(name) if entry else None
            except TypeError:  # a name that is none; whoever is told takes note
                count = None
            if count is not None:
                count()
            elif self._dropped is not None:
                self._dropped(parent_context, name, kind, attributes)
        return result

    def get_description(self) -> str:
        """The other's."""
        return self.sampler.get_description()


def _asks_its_delegates(sampler: Sampler) -> bool:
    """Whether this is a `ParentBased`, or one that is put together differently but decides as that does."""
    return (
        isinstance(sampler, ParentBased)
        and type(sampler).should_sample is ParentBased.should_sample
        and all(hasattr(sampler, name) for name in _OF_LOCAL_ROOTS + _OF_THE_INSIDE)
    )


def _drops_nothing(sampler: Sampler) -> bool:
    """Whether every span is recorded anyway."""
    return sampler.get_description() == "AlwaysOnSampler"
