"""What a census leaves behind: the heaviest shapes, in a form that the next one can compare with.

The process that asked never looks into it: the next snapshot inherits it and does the comparing.
"""

from __future__ import annotations

import heapq
import marshal
from dataclasses import dataclass, fields
from typing import Final

from otel_memleak.diagnosis.census._kinds import STRUCT
from otel_memleak.diagnosis.census._labels import definition_site
from otel_memleak.diagnosis.census._tree import Node

MAX_ROWS: Final = 4000
MAX_BYTES: Final = 1024 * 1024
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One shape.

    Attributes:
        parent: Index of its parent's row, smaller than its own; -1 for the root.
        label: How the parent holds it.
        type_name: Qualified type name.
        count: Objects of this shape.
        own_bytes: Their shallow size, with the text and numbers in their attributes.
        subtree_bytes: With everything reached through them first.
        site: ``file:line`` of the code it runs, where it is a function or the like; else empty.
        is_instance: Whether it is an instance of a class, with attributes, and not itself a class.
        ours: Whether it belongs to this package, or is telemetry on its way out.
    """

    parent: int
    label: str
    type_name: str
    count: int
    own_bytes: int
    subtree_bytes: int
    site: str
    is_instance: bool
    ours: bool


_FIELDS: Final = tuple(field.name for field in fields(Row))


@dataclass(frozen=True, slots=True)
class Summary:
    """The shapes of one moment.

    Attributes:
        time_s: When the snapshot was taken, on the caller's clock.
        complete: Whether everything was walked.
        rows: The heaviest shapes; parents first.
    """

    time_s: float
    complete: bool
    rows: tuple[Row, ...]

    def encode(self) -> bytes:
        """As bytes, for `decode`; without the lightest shapes where names are too long for all to fit."""
        rows = [tuple(getattr(row, name) for name in _FIELDS) for row in self.rows]
        while True:
            payload = marshal.dumps((_FORMAT, self.time_s, self.complete, rows))
            if len(payload) <= MAX_BYTES:
                return payload
            del rows[len(rows) // 2 :]

    @classmethod
    def decode(cls, payload: bytes) -> Summary | None:
        """What `encode` made; None when it is something else."""
        try:
            version, time_s, complete, rows = marshal.loads(payload)
            if version != _FORMAT:
                return None
            return cls(time_s, complete, tuple(Row(*row) for row in rows))
        except (ValueError, TypeError, EOFError):
            return None


def summarise(root: Node, time_s: float, *, complete: bool, max_rows: int = MAX_ROWS) -> Summary:
    """Keep the heaviest shapes of a tree.

    A parent weighs at least what a child does, so that what is kept is a tree as well.
    """
    totals = root.subtree_bytes()
    rows: list[Row] = []
    heap: list[tuple[int, int, int, Node]] = [(-totals[id(root)], 0, -1, root)]
    serial = 0
    while heap and len(rows) < max_rows:
        weight, _, parent, node = heapq.heappop(heap)
        index = len(rows)
        rows.append(
            Row(
                parent,
                node.label,
                node.type_name,
                node.count,
                node.held_bytes,
                -weight,
                definition_site(node.exemplar),
                node.mode == STRUCT and not node.is_class,
                node.ours,
            )
        )
        for child in node.children.values():
            serial += 1
            heapq.heappush(heap, (-totals[id(child)], serial, index, child))
    return Summary(time_s, complete, tuple(rows))
