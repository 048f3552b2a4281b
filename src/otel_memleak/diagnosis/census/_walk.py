"""Walk the object graph, nearest first, and count every object once where it was first reached.

`gc.get_referents` calls ``tp_traverse`` and nothing else, so no code of the application runs; where even that
is too much, see `referents_of`. Objects are taken in batches of one shape: the many objects of a leak differ
in nothing but their address.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from otel_memleak.diagnosis.census._kinds import COLLECTION, NAMESPACE, length_of, referents_of
from otel_memleak.diagnosis.census._labels import ELEMENT, attribute
from otel_memleak.diagnosis.census._marks import GRAIN_BITS, PAGE_BITS, SLOT_MASK, SLOTS
from otel_memleak.diagnosis.census._sample import ends_of
from otel_memleak.diagnosis.census._shapes import MAX_LABELS, MAX_NODES, Shapes
from otel_memleak.diagnosis.census._tree import Node

BATCH: Final = 512
SMALL_BATCH: Final = 16
"""In a running process, so that other threads get their turn."""
LARGE: Final = 512
"""There, of a container with more elements only the ends are looked at: to list it would stop the process."""
END: Final = 128
"""Elements that are looked at, of either end."""
PLACES: Final = 128
"""Places of a struct that are told apart."""

_keys_of: Final[Callable[[object], Iterable[object]]] = vars(dict)["keys"]
"""As the builtin has it, whatever a subclass says; see `Node.is_dict`."""


class Walker(Shapes):
    """Breadth-first over everything that can be reached from what it is given.

    Args:
        may_peek: Whether frames may be asked for their locals (a copy of the process may, the process not).
        max_nodes: Shapes that are told apart.
        enough: Objects of one shape that are looked into; the rest is taken to be like them. None for all.
    """

    def __init__(self, *, may_peek: bool, max_nodes: int = MAX_NODES, enough: int | None = None) -> None:
        super().__init__(may_peek=may_peek, max_nodes=max_nodes)
        self._enough = enough
        self._batch = BATCH if enough is None else SMALL_BATCH
        self._queue: deque[Node] = deque()
        self._late: deque[Node] = deque()

    def add(self, parent: Node, label: str, thing: object, mode: int | None = None) -> None:
        """Count an object at a place of the caller's naming, unless it has been counted."""
        if self.marks.put(id(thing)):
            self._count(self.part(parent, label, thing, mode), thing)

    def add_global(self, parent: Node, label: str, thing: object) -> None:
        """Count an object of a module's, as part of the module if there is next to nothing to it."""
        if self.marks.put(id(thing)) and not self.absorb(parent, thing):
            self._count(self.part(parent, label, thing, None), thing)

    def locals_of(self, frame: Any) -> list[tuple[str, object]]:
        """Locals of a running function; before 3.13 the frame keeps a copy, so only a snapshot may ask."""
        if not self._may_peek and sys.version_info < (3, 13):
            return []
        return list(dict(frame.f_locals).items())

    def run(self) -> Iterator[None]:
        """Walk until nothing is left; gives way after every batch, for a caller with a deadline.

        What this package's own objects hold comes last: all of it that belongs to the application has then
        been found at the application's own places.
        """
        while self._queue or self._late:
            queue = self._queue or self._late
            node = queue[0]
            batch = node.pending[-self._batch :]
            del node.pending[-self._batch :]
            if self._enough is not None and node.looked_into + len(batch) >= self._enough:
                node.pending.clear()
            if not node.pending:
                queue.popleft()
                node.queued = False
            if self._enough is None or node.looked_into < self._enough:
                node.looked_into += len(batch)
                self._look_into(node, batch)
            if self._enough is not None:
                self._release_surplus(node, self._enough)
            yield

    def abandon(self) -> None:
        """Drop what is left to do."""
        for node in (*self._queue, *self._late):
            node.pending.clear()
        self._queue.clear()
        self._late.clear()

    @staticmethod
    def _release_surplus(node: Node, enough: int) -> None:
        """Hold on to no more objects of the application than will be looked into."""
        for child in node.by_type.values():
            del child.pending[enough:]

    def _look_into(self, node: Node, batch: list[object]) -> None:
        node.exemplar = batch[0]
        if node.mode == COLLECTION:
            if self._enough is not None:
                batch = [thing for thing in batch if not self._is_large(node, thing)]
            self._elements(node, gc.get_referents(*batch))
            if node.is_dict:
                # Text keys are not among the referents of a dict.
                for table in batch:
                    self._elements(node, self._keys(table))
        elif node.mode == NAMESPACE:
            for table in batch:
                self._attributes(node, table)
        else:
            for thing in batch:
                node.exemplar = thing
                self._places(node, thing)

    def _keys(self, table: object) -> Iterable[object]:
        """Keys of a dict or an instance of its subclass, listed at once where others may change it."""
        keys = _keys_of(table)
        return keys if self._enough is None else list(keys)

    def _is_large(self, node: Node, thing: object) -> bool:
        """Whether a collection is too large to be listed; then its ends have been taken for the whole."""
        size = length_of(thing)
        if size <= LARGE:
            return False
        for taken in ends_of(thing, END):
            self._stand_for(node, taken, size)
        return True

    def _stand_for(self, node: Node, taken: list[object], size: int) -> None:
        """Count some elements, and as many more of each shape as there must be among all of them."""
        before = {id(child): (child.count, child.own_bytes) for child in node.by_type.values()}
        self._elements(node, taken)
        if 2 * len(set(map(id, taken))) <= len(taken):
            # The same few things over and over: there are not more of them for there being more places.
            return
        for child in {id(child): child for child in node.by_type.values()}.values():
            count, own_bytes = before.get(id(child), (0, 0))
            child.count += (child.count - count) * (size - len(taken)) // len(taken)
            child.own_bytes += (child.own_bytes - own_bytes) * (size - len(taken)) // len(taken)

    def _elements(self, node: Node, contents: Iterable[object]) -> None:
        """The hot loop: see `Marks.put` and `_count`, written out."""
        by_type, pages, getsizeof = node.by_type, self.marks.pages, sys.getsizeof
        for thing in contents:
            child = by_type.get(id(type(thing)))
            if child is None:
                child = by_type[id(type(thing))] = self.child(node, ELEMENT, thing, None)
            address = id(thing)
            page = pages.get(address >> PAGE_BITS)
            if page is None:
                page = pages[address >> PAGE_BITS] = bytearray(SLOTS)
            slot = (address >> GRAIN_BITS) & SLOT_MASK
            if page[slot]:
                continue
            page[slot] = 1
            child.count += 1
            child.own_bytes += getsizeof(thing) if child.sized else child.fixed_bytes
            if child.mode:
                child.pending.append(thing)
                if not child.queued:
                    self._enqueue(child)

    def _places(self, node: Node, holder: object) -> None:
        """The other hot loop."""
        by_place, pages, getsizeof = node.by_type, self.marks.pages, sys.getsizeof
        thing: object
        contents = referents_of(holder) if node.has_modules else gc.get_referents(holder)
        for place, thing in enumerate(contents):
            key = id(type(thing)) * PLACES + (place if place < PLACES else PLACES - 1)
            child = by_place.get(key)
            if child is None:
                child = by_place[key] = self.placed(node, holder, thing)
            address = id(thing)
            page = pages.get(address >> PAGE_BITS)
            if page is None:
                page = pages[address >> PAGE_BITS] = bytearray(SLOTS)
            slot = (address >> GRAIN_BITS) & SLOT_MASK
            if page[slot]:
                continue
            page[slot] = 1
            child.count += 1
            child.own_bytes += getsizeof(thing) if child.sized else child.fixed_bytes
            if child.mode:
                child.pending.append(thing)
                if not child.queued:
                    self._enqueue(child)

    def _attributes(self, node: Node, table: Any) -> None:
        by_name = node.by_name
        of_class = node.parent is not None and node.parent.is_class
        thing: object
        # A copy is made at once; in a running process the table may change at every step of a loop.
        entries = table if self._enough is None else table.copy()
        for name, thing in entries.items():
            if not self.marks.put(id(thing)) or (of_class and self.absorb(node, thing)):
                continue
            if type(name) is not str or (name not in by_name and len(by_name) >= MAX_LABELS):
                name = ""
            by_type = by_name.setdefault(name, {})
            child = by_type.get(id(type(thing)))
            if child is None:
                child = by_type[id(type(thing))] = self.part(node, attribute(name), thing, None)
            self._count(child, thing)

    def _count(self, child: Node, thing: object) -> None:
        child.count += 1
        child.own_bytes += sys.getsizeof(thing) if child.sized else child.fixed_bytes
        if child.mode:
            child.pending.append(thing)
            self._enqueue(child)

    def _enqueue(self, node: Node) -> None:
        if not node.queued:
            node.queued = True
            (self._late if node.ours else self._queue).append(node)
