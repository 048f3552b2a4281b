"""Which shape an object belongs to, and how many of these there may be."""

from __future__ import annotations

from typing import Final

from otel_memleak.diagnosis.census._kinds import ATOM, Kinds, referents_of
from otel_memleak.diagnosis.census._labels import ELEMENT, label_edge
from otel_memleak.diagnosis.census._marks import Marks
from otel_memleak.diagnosis.census._spare import SpareDicts
from otel_memleak.diagnosis.census._tree import MANY_TYPES, Node

MAX_NODES: Final = 150_000
MAX_TYPES: Final = 100_000
SPARE_DICTS: Final = 4096
MAX_LABELS: Final = 512
"""Differently named children one shape may have; what comes later is an element like any other."""
INSIDE: Final = "(inside)"
BIG_BYTES: Final = 64 * 1024
"""Text, numbers and buffers in an attribute count as part of their holder, unless as big as this."""
SMALL_TREE: Final = 40
"""A global that leads to no more new objects than this is part of its module: most functions are."""


class Shapes:
    """The tree of shapes while it is being made.

    Args:
        may_peek: Whether frames may be asked for their locals (a copy of the process may, the process not).
        max_nodes: Shapes that are told apart.
    """

    def __init__(self, *, may_peek: bool, max_nodes: int) -> None:
        self.root = Node(None, "", "", ATOM)
        self.marks = Marks()
        self.kinds = Kinds(MAX_TYPES, SpareDicts(0 if may_peek else SPARE_DICTS))
        self._may_peek = may_peek
        self._max_nodes = max_nodes
        self._nodes = 0

    def placed(self, node: Node, holder: object, thing: object) -> Node:
        """The shape of what a struct holds, named by the edge to it."""
        if self._is_small(thing):
            return self._inside(node, thing)
        edge = label_edge(node, self.kinds.of(holder), holder, thing, may_peek=self._may_peek)
        return self.child(node, edge.label, thing, edge.mode)

    def part(self, parent: Node, label: str, thing: object, mode: int | None) -> Node:
        """The shape of what is held under a name; text and numbers are part of their holder."""
        if self._is_small(thing):
            return self._inside(parent, thing)
        return self.child(parent, label, thing, mode)

    def _inside(self, parent: Node, thing: object) -> Node:
        if parent.inside is None:
            parent.inside = Node(parent, "", INSIDE, ATOM)
        parent.inside.sized = parent.inside.sized and self.kinds.of(thing).sized
        return parent.inside

    def _is_small(self, thing: object) -> bool:
        kind = self.kinds.of(thing)
        return kind.mode == ATOM and kind.size_of(thing) < BIG_BYTES

    def absorb(self, parent: Node, thing: object) -> bool:
        """Count a global with all it leads to as part of its module or class, if that is next to nothing."""
        kinds, marks = self.kinds, self.marks
        parts = [thing]
        size = 0
        for part in parts:
            kind = kinds.of(part)
            size += kind.size_of(part)
            if kind.is_class or size > BIG_BYTES:
                return False
            if kind.mode == ATOM:
                continue
            parts.extend(one for one in referents_of(part) if not marks.get(id(one)))
            if len(parts) > SMALL_TREE:
                return False
        for part in parts:
            marks.put(id(part))
        inside = self._inside(parent, thing)
        inside.count += len(parts)
        inside.own_bytes += size
        return True

    def child(self, parent: Node, label: str, thing: object, mode: int | None) -> Node:
        """The shape of an object at that place, made if there is none and room for it."""
        kind = self.kinds.of(thing)
        type_name = kind.name
        if self._nodes >= self._max_nodes or len(parent.children) >= 4 * MAX_LABELS:
            label, type_name = ELEMENT, MANY_TYPES
            # Each shape would grow a tree of such; where even one for each is too many, all join.
            parent = parent.told_apart() if self._nodes < 2 * self._max_nodes else self.root
        before = len(parent.children)
        child = parent.child(label, type_name, kind.mode if mode is None else mode)
        child.has_modules = child.has_modules or kind.is_module
        if len(parent.children) > before:
            self._nodes += 1
            child.sized, child.fixed_bytes, child.is_dict = kind.sized, kind.fixed_bytes, kind.is_dict
            child.is_class, child.ours = kind.is_class, child.ours or kind.ours
            child.exemplar = thing
        else:
            # Types of one name share a node: what may be called on it is what may be called on all of them.
            child.sized = child.sized and kind.sized
            child.is_dict = child.is_dict and kind.is_dict
        return child
