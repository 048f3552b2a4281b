"""The tree of shapes: every object of the process, counted at the path it was first reached by.

Objects that are reached alike (same holder, same attribute, same type) share one node. A program has a few
thousand shapes however many objects it has, so two trees can be compared and a node's path is a name that
holds from one census to the next.
"""

from __future__ import annotations

from typing import Final

MANY_TYPES: Final = "(other)"
MAX_DEPTH: Final = 40
MAX_REPEATS: Final = 3
"""A type met a fourth time on one path is a recursion (a linked list, a tree): it joins its like above."""


class Node:
    """One shape: what is held at one place by one kind of holder.

    Attributes:
        label: How the parent holds it: ``.name``, ``[*]``, or empty where it adds nothing to a path.
        type_name: ``module:qualified name`` of the type of the objects counted here; builtins have no module.
        count: Objects counted.
        own_bytes: Their shallow size, in bytes.
        pending: Objects not yet looked into.
        by_type: Children by the address of their type; in a struct, by its place as well.
        has_modules: Whether some of the objects are modules, which must not be traversed.
        by_name: Children of a namespace by attribute name and the address of their type.
    """

    __slots__ = (
        "by_name",
        "by_type",
        "children",
        "count",
        "depth",
        "exemplar",
        "fixed_bytes",
        "has_modules",
        "inside",
        "is_class",
        "is_dict",
        "label",
        "looked_into",
        "mode",
        "ours",
        "own_bytes",
        "parent",
        "pending",
        "queued",
        "sized",
        "type_name",
    )

    def __init__(self, parent: Node | None, label: str, type_name: str, mode: int) -> None:
        self.parent = parent
        self.label = label
        self.type_name = type_name
        self.mode = mode
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.ours: bool = parent is not None and parent.ours
        self.sized = True
        self.fixed_bytes = 0
        self.is_dict = False
        self.has_modules = False
        self.is_class = False
        self.count = 0
        self.looked_into = 0
        self.own_bytes = 0
        self.exemplar: object = None
        self.inside: Node | None = None
        self.queued = False
        self.pending: list[object] = []
        self.children: dict[tuple[str, str, int], Node] = {}
        self.by_type: dict[int, Node] = {}
        self.by_name: dict[str, dict[int, Node]] = {}

    def child(self, label: str, type_name: str, mode: int) -> Node:
        """The child of that label and type, made when it is new; a recursion folds into an ancestor."""
        key = (label, type_name, mode)
        node = self.children.get(key)
        if node is None:
            node = self._fold(type_name, mode)
            if node is None:
                node = self.children[key] = Node(self, label, type_name, mode)
        return node

    def _fold(self, type_name: str, mode: int) -> Node | None:
        repeats, nearest, node = 0, None, self
        while node.parent is not None:
            if node.type_name == type_name and node.mode == mode:
                repeats += 1
                nearest = nearest or node
            node = node.parent
        if repeats >= MAX_REPEATS or (nearest is not None and self.depth >= MAX_DEPTH):
            return nearest
        return None

    def told_apart(self) -> Node:
        """The nearest holder whose type is known; below others nothing is told apart."""
        return self.parent if self.type_name == MANY_TYPES and self.parent is not None else self

    @property
    def held_bytes(self) -> int:
        """Shallow size of the objects with the text and numbers in their attributes."""
        return self.own_bytes + (0 if self.inside is None else self._scaled(self.inside.own_bytes))

    def _scaled(self, found_bytes: int) -> int:
        """What was found in the objects looked into, for all of them."""
        if 0 < self.looked_into < self.count:
            return found_bytes * self.count // self.looked_into
        return found_bytes

    def subtree_bytes(self) -> dict[int, int]:
        """Bytes at and below each node of this subtree, by the node's ``id``.

        Where only some objects of a shape were looked into, the others are taken to hold as much.
        """
        order: list[Node] = [self]
        for node in order:
            order.extend(node.children.values())
        totals: dict[int, int] = {}
        for node in reversed(order):
            below = sum(totals[id(child)] for child in node.children.values())
            totals[id(node)] = node.held_bytes + node._scaled(below)
        return totals

    def dismantle(self) -> None:
        """Take the tree apart, so that it is freed at once and holds no object of the application."""
        order: list[Node] = [self]
        for node in order:
            order.extend(node.children.values())
            node.parent = node.exemplar = node.inside = None
            node.pending.clear()
            node.by_type.clear()
            node.by_name.clear()
            node.children = {}
