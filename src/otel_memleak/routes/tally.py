"""How often each entry point was called: the frequent ones by name, the rest as one."""

from __future__ import annotations

from collections import Counter, deque
from itertools import count, repeat, starmap
from typing import TYPE_CHECKING, Final

from otel_memleak import forks
from otel_memleak.routes._ledger import OTHER
from otel_memleak.routes.names import collapse
from otel_memleak.threads import new_lock

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from otel_memleak.entry_spans import Steps

CONTEXTS_PER_ROUTE: Final = 3
BATCH: Final = 256
_BACKLOG: Final = 64 * BATCH
_METERS_AT_MOST: Final = 64
_CALLS_UNTIL_HALVED: Final = 1 << 16
_SAMPLED: Final = 1


class _Slot:
    """One name. Its weight decides who stays (Metwally and others 2005); only counted calls are told."""

    __slots__ = ("calls", "contexts", "counted", "weight")

    def __init__(self, inherited: float) -> None:
        self.weight = inherited
        self.counted = 0.0
        self.calls = 0
        self.contexts: deque[SpanContext] = deque(maxlen=CONTEXTS_PER_ROUTE)

    @property
    def established(self) -> bool:
        """More of its weight is its own than was inherited: not a passer-by."""
        return 2.0 * self.counted > self.weight


class _Meter:
    """Calls of one name that comes again and again, counted by whoever serves them and read now and then.

    Each step is one of the interpreter's own, so threads lose nothing of one another's, and it keeps nothing:
    what is put down for later has to be fetched back into the cache, which costs more than the step.
    """

    __slots__ = ("_calls", "_known", "contexts", "steps")

    def __init__(self) -> None:
        self._calls = count()
        self._known = 0
        self.contexts: deque[SpanContext | None] = deque(maxlen=CONTEXTS_PER_ROUTE)
        self.steps: Steps = (self._calls.__next__, self.contexts.append)

    def take(self) -> int:
        """Calls since it was last asked."""
        now = next(self._calls)
        before, self._known = self._known, now + 1  # asking counts as one
        return now - before


class RouteTally:
    """Counts calls per name for as many names as there is room, and the rest as one.

    A call is counted once, at once and for good: under its name if that has a place by then, else with the
    rest. A name that loses its place takes its calls with it, so the rest never jumps.

    The request path only appends to a queue, which is atomic. When that is long one thread empties it, and no
    thread ever waits for another: a span may end inside a finalizer, in a thread that is counting already.
    Names that come again and again have a meter of their own, see :meth:`steps`.

    Args:
        capacity: Names told apart.

    Raises:
        ValueError: ``capacity`` is not positive.
    """

    def __init__(self, capacity: int = 32) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity!r} must be positive")
        self._capacity = capacity
        self.pending: Final[deque[str]] = deque(maxlen=_BACKLOG)
        """Names of calls that are still to be counted."""
        self.latest: Final[dict[str, SpanContext | None]] = {}
        """A recent span of each of them: one is enough to link to."""
        self._meters: dict[str, _Meter] = {}
        self._slots: dict[str, _Slot] = {}
        self._other = 0
        self._total = 0
        self._until_halved = _CALLS_UNTIL_HALVED
        self._lock = new_lock()
        forks.register(self)

    def count(self, name: str, context: SpanContext | None = None) -> None:
        """Count a call; the context of a sampled span is kept for a while, to link to it."""
        if context is not None:
            self.latest[name] = context
        self.pending.append(name)
        if len(self.pending) >= BATCH:
            self.settle()

    def steps(self, name: str) -> Steps | None:
        """What to do for each call of this name instead of counting it.

        Returns:
            Two steps, the second with the context of the call; None when 64 names have such already.
        """
        known = self._meters.get(name)
        if known is None and len(self._meters) < _METERS_AT_MOST:
            known = self._meters.setdefault(name, _Meter())
        return known.steps if known is not None else None

    def settle(self) -> None:
        """Work off the queue and read the meters, unless another thread is doing so."""
        lock = self._lock  # after a fork it may be replaced while this thread is at work
        if lock.acquire(blocking=False):
            try:
                self._drain()
            finally:
                lock.release()

    def counts(self) -> dict[str, int]:
        """Calls so far by name, and of everything else under ``(other)``."""
        self.settle()
        told = {name: slot.calls for name, slot in tuple(self._slots.items()) if slot.calls}
        if self._other:
            told[OTHER] = self._other
        return told

    def total(self) -> int:
        """Calls so far, of whatever name; unlike the sum of the counts it never falls."""
        self.settle()
        return self._total

    def recent_contexts(self, route: str) -> list[SpanContext]:
        """Contexts of at most three recent sampled spans of a route, the latest first."""
        self.settle()
        slot = self._slots.get(route)
        return list(reversed(slot.contexts)) if slot else []

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock when the process was copied."""
        self._lock = new_lock()

    def stop(self) -> None:
        """Nothing to end: there is no thread."""

    def _drain(self) -> None:
        # No more than there are now: the others go on appending.
        waiting = len(self.pending)
        for raw, calls in Counter(starmap(self.pending.popleft, repeat((), waiting))).items():
            self._add(raw, calls)
        for raw in tuple(self.latest):
            self._remember(raw, self.latest.pop(raw, None))
        for raw, meter in tuple(self._meters.items()):
            calls = meter.take()
            if calls:
                self._add(raw, calls)
                waiting += calls
            for _ in range(len(meter.contexts)):  # others may append meanwhile
                self._remember(raw, meter.contexts.popleft())
        self._total += waiting
        self._until_halved -= waiting
        if self._until_halved <= 0:
            self._halve()

    def _add(self, raw: str, calls: int) -> None:
        slot = self._slots.get(raw) or self._find(collapse(raw))
        slot.weight += calls
        slot.counted += calls
        if slot.established:
            slot.calls += calls
        else:
            self._other += calls

    def _remember(self, raw: str, context: SpanContext | None) -> None:
        if context and context.trace_flags & _SAMPLED:
            slot = self._slots.get(raw) or self._slots.get(collapse(raw))
            if slot:
                slot.contexts.append(context)

    def _find(self, name: str) -> _Slot:
        slot = self._slots.get(name)
        if slot is None:
            inherited = 0.0
            if len(self._slots) >= self._capacity:
                least = min(self._slots, key=lambda known: self._slots[known].weight)
                inherited = self._slots.pop(least).weight
            slot = self._slots[name] = _Slot(inherited)
        return slot

    def _halve(self) -> None:
        """Let a route that became busy last week displace one that was busy last year."""
        self._until_halved = _CALLS_UNTIL_HALVED
        for slot in self._slots.values():
            slot.weight *= 0.5
            slot.counted *= 0.5


_shared: list[RouteTally] = []


def shared_tally() -> RouteTally:
    """The one tally of this process, to which spans and middlewares count unless told otherwise."""
    if not _shared:
        _shared.append(RouteTally())
    return _shared[0]
