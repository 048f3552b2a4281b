"""Who holds what grows: from two or three summaries to at most five suspects. Pure.

A leak is a thing that stays one while what it holds becomes more. So the tree of shapes is descended from the
modules: where the number of children grows faster than the number of their holders, the holder is the
accumulation point, and all that hangs below those children is its growth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from otel_memleak.diagnosis.census._merge import Shape, merge
from otel_memleak.diagnosis.census._paths import holder_path, is_named_type, plain_type
from otel_memleak.diagnosis.census._summary import Summary
from otel_memleak.types import Suspect

MAX_SUSPECTS: Final = 5
MIN_SHARE: Final = 0.12
"""A suspect that explains less of the growth than this is not named."""
STEADINESS: Final = 0.25
"""Between any two summaries it grew at no less than this part of its mean rate."""
EXPLAINED: Final = 0.5
"""Part of a shape's growth that its growing number must explain to be the reason for it."""
REPRESENTATIVE: Final = 10
"""So many objects tell how big one is; with fewer, only those that came since do."""
SAME_NUMBER: Final = 0.75
"""Two shapes that grow by numbers this close are parts of the same thing."""
COMPANION: Final = 0.3
"""A class met below a tuple or a dict names it if there are at least this many for each."""
_HOUR_S: Final = 3600.0
_MAX_DEPTH: Final = 60


@dataclass(slots=True)
class _Accumulation:
    """What piles up at one place."""

    holder: Shape
    own_bytes: list[int]
    parts: list[Shape] = field(default_factory=list[Shape])

    def series(self) -> list[int]:
        """Bytes that piled up, at each summary."""
        series = list(self.own_bytes)
        for part in self.parts:
            series = [a + b for a, b in zip(series, part.subtree_bytes, strict=True)]
        return series


def rank(
    summaries: Sequence[Summary], growth_bytes_per_hour: float | None = None, *, min_share: float = MIN_SHARE
) -> tuple[Suspect, ...]:
    """Name what grows.

    Args:
        summaries: Two or more, oldest first; all but the last must be complete to count.
        growth_bytes_per_hour: Retained growth of the process, to measure shares against; None for the growth
            that the summaries show.
        min_share: Share of the growth a suspect must account for.

    Returns:
        At most five suspects, worst first. None is named that does not grow in every step.
    """
    # What an earlier look did not get to see would seem to have grown since.
    summaries = [one for one in summaries if one.rows and (one.complete or one is summaries[-1])]
    if len(summaries) < 2:
        return ()
    times = [one.time_s for one in summaries]
    hours = (times[-1] - times[0]) / _HOUR_S
    if hours <= 0 or any(later <= earlier for earlier, later in pairwise(times)):
        return ()
    root = merge(summaries)
    total = growth_bytes_per_hour if growth_bytes_per_hour else root.growth_bytes / hours
    if total <= 0:
        return ()
    floor_bytes = total * hours * min_share
    found: dict[str, _Accumulation] = {}
    _descend(root, floor_bytes * 0.2, found, 0)
    suspects = [_suspect(path, one, times, total) for path, one in found.items()]
    named = [one for one in suspects if one and one.share >= min_share and (one.owner or one.type)]
    named.sort(key=lambda one: -one.growth_bytes_per_hour)
    return tuple(named[:MAX_SUSPECTS])


def _descend(shape: Shape, floor_bytes: float, found: dict[str, _Accumulation], depth: int) -> None:
    if shape.row.ours or _is_bounded(shape) or depth > _MAX_DEPTH:
        return
    here = _Accumulation(shape, _own_of_as_many(shape))
    for child in shape.children.values():
        if child.row.ours:
            continue
        if _accumulates(shape, child):
            here.parts.append(child)
        elif child.growth_bytes >= floor_bytes:
            _descend(child, floor_bytes, found, depth + 1)
    series = here.series()
    if series[-1] - series[0] >= floor_bytes:
        _add(found, here)


def _own_of_as_many(shape: Shape) -> list[int]:
    """Shallow size at each summary of as many as at first: that they are more is their holder's doing."""
    first = shape.counts[0]
    return [
        own * first // count if first and count > first else own
        for own, count in zip(shape.own_bytes, shape.counts, strict=True)
    ]


def _accumulates(holder: Shape, child: Shape) -> bool:
    """Whether a holder comes to hold more of these, and that is why they grow."""
    before, after = child.counts[0], child.counts[-1]
    if after <= before or child.growth_bytes <= 0:
        return False
    expected = before * holder.counts[-1] / holder.counts[0] if holder.counts[0] else 0.0
    if after - expected < EXPLAINED * (after - before):
        return False
    each = child.subtree_bytes[-1] / after
    if before >= REPRESENTATIVE:
        each = min(each, child.subtree_bytes[0] / before)
    return (after - before) * each >= EXPLAINED * child.growth_bytes


def _add(found: dict[str, _Accumulation], here: _Accumulation) -> None:
    path = holder_path(_head(here))
    known = found.get(path)
    if known is None:
        found[path] = here
        return
    known.parts.extend(here.parts)
    known.own_bytes = [a + b for a, b in zip(known.own_bytes, here.own_bytes, strict=True)]


def _head(here: _Accumulation) -> Shape:
    """Where the growth hangs from: of a chain, or a tree, the place that holds its first link."""
    heaviest = max(here.parts, key=lambda part: part.growth_bytes, default=None)
    if heaviest is None:
        return here.holder
    # An instance comes to hold more of its own ``__dict__`` only where links are folded into one shape.
    link = here.holder if heaviest.row.label == "" and not heaviest.row.is_instance else heaviest
    head: Shape = here.holder
    node: Shape | None = head
    while node is not None and link.row.is_instance:
        if node.row.type_name == link.row.type_name:
            head = node
        node = node.parent
    return head


def _suspect(path: str, one: _Accumulation, times: list[float], total: float) -> Suspect | None:
    series = one.series()
    hours = (times[-1] - times[0]) / _HOUR_S
    rate = (series[-1] - series[0]) / hours
    steps = zip(pairwise(times), pairwise(series), strict=True)
    if any((after - before) / (t1 - t0) * _HOUR_S < STEADINESS * rate for (t0, t1), (before, after) in steps):
        return None
    kind = _what_piles_up(one)
    return Suspect(
        type=plain_type(kind.row.type_name),
        owner=path,
        site=kind.row.site,
        growth_bytes_per_hour=rate,
        growth_count_per_hour=max(kind.growth_count, 0) / hours if one.parts else 0.0,
        share=min(rate / total, 1.0),
    )


def _what_piles_up(one: _Accumulation) -> Shape:
    """The most telling of the shapes that grow together: a class of the program's before a tuple."""
    if not one.parts:
        return one.holder
    heaviest = max(one.parts, key=lambda part: part.growth_bytes)
    number = heaviest.growth_count * SAME_NUMBER
    alike = [heaviest, *(part for part in one.parts if part is not heaviest and part.growth_count >= number)]
    for shape in alike:
        if is_named_type(shape.row):
            return shape
    for shape in alike:
        inner = _named_below(shape, heaviest.growth_count * COMPANION)
        if inner is not None:
            return inner
    return heaviest


def _named_below(shape: Shape, number: float) -> Shape | None:
    level = [shape]
    for _ in range(4):
        level = [child for one in level for child in one.children.values() if child.growth_count >= number]
        for child in sorted(level, key=lambda one: -one.growth_bytes):
            if is_named_type(child.row):
                return child
    return None


def _is_bounded(shape: Shape) -> bool:
    """The SDK's queues between a span's end and its export: they fill and empty, and have a maximum."""
    module, _, name = shape.row.type_name.partition(":")
    return shape.row.is_instance and module.startswith("opentelemetry.sdk.") and name.startswith("Batch")
