"""Several summaries laid over each other: one tree, with a series of counts and sizes at every shape."""

from __future__ import annotations

from collections.abc import Sequence

from otel_memleak.diagnosis.census._summary import Row, Summary


class Shape:
    """One shape over time.

    Attributes:
        counts: Objects, one for each summary.
        own_bytes: Their shallow size.
        subtree_bytes: With what was reached through them.
    """

    __slots__ = ("children", "counts", "own_bytes", "parent", "row", "seen", "subtree_bytes")

    def __init__(self, parent: Shape | None, row: Row, length: int) -> None:
        self.parent = parent
        self.row = row
        self.children: dict[tuple[str, str], Shape] = {}
        self.seen = [False] * length
        self.counts = [0] * length
        self.own_bytes = [0] * length
        self.subtree_bytes = [0] * length

    @property
    def growth_bytes(self) -> int:
        """Bytes this and what hangs below has grown by, from the first to the last summary."""
        return self.subtree_bytes[-1] - self.subtree_bytes[0]

    @property
    def growth_count(self) -> int:
        """Objects this has grown by."""
        return self.counts[-1] - self.counts[0]


def merge(summaries: Sequence[Summary]) -> Shape:
    """Lay summaries over each other, oldest first; at least one, each with a root."""
    length = len(summaries)
    root = Shape(None, summaries[-1].rows[0], length)
    for index, summary in enumerate(summaries):
        shapes: list[Shape] = []
        for row in summary.rows:
            shape = root if row.parent < 0 else _child(shapes[row.parent], row, length)
            shapes.append(shape)
            shape.row = row
            shape.seen[index] = True
            shape.counts[index] += row.count
            shape.own_bytes[index] += row.own_bytes
            shape.subtree_bytes[index] += row.subtree_bytes
    _fill_gaps(root)
    return root


def _child(parent: Shape, row: Row, length: int) -> Shape:
    key = (row.label, row.type_name)
    shape = parent.children.get(key)
    if shape is None:
        shape = parent.children[key] = Shape(parent, row, length)
    return shape


def _fill_gaps(root: Shape) -> None:
    """What was too light for an earlier summary was there all the same, unless it is an element."""
    order = [root]
    for shape in order:
        order.extend(shape.children.values())
        if shape.row.label == "[*]":
            continue
        for index, seen in enumerate(shape.seen):
            if not seen:
                shape.counts[index] = next(
                    count for count, there in zip(shape.counts, shape.seen, strict=True) if there
                )
