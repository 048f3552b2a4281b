"""Some elements of a large collection, without listing it: that would stop a running process.

Each of these is one call of C code over the collection's own iterator, so the collection cannot change within
it and no code of the application's runs, whatever a subclass says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from otel_memleak.diagnosis.census._kinds import is_kind_of

Part = Callable[[Any], Iterator[Any]]


def _of(cls: type, name: str) -> Callable[[Any], Any]:
    method: Callable[[Any], Any] = vars(cls)[name]
    return method


_MOST: Final = 256
_values, _keys, _item = _of(dict, "values"), _of(dict, "keys"), vars(tuple)["__getitem__"]
_DICT_VALUES: Final[tuple[Part, ...]] = (lambda d: iter(_values(d)), lambda d: reversed(_values(d)))
_DICT_KEYS: Final[tuple[Part, ...]] = (lambda d: iter(_keys(d)), lambda d: reversed(_keys(d)))
_ENDS: Final[tuple[tuple[type, tuple[tuple[Part, ...], ...]], ...]] = (
    (dict, (_DICT_VALUES, _DICT_KEYS)),
    (list, ((_of(list, "__iter__"), _of(list, "__reversed__")),)),
    (deque, ((_of(deque, "__iter__"), _of(deque, "__reversed__")),)),
    (tuple, ((_of(tuple, "__iter__"), lambda t: iter(_item(t, slice(None, -_MOST - 1, -1)))),)),
    (set, ((_of(set, "__iter__"),),)),
    (frozenset, ((_of(frozenset, "__iter__"),),)),
)


def ends_of(collection: object, each: int) -> Iterable[list[object]]:
    """Elements from the beginning and from the end: what has been there long, and what came last.

    Args:
        collection: A builtin collection or an instance of its subclass; of a dict the values, then the keys.
        each: How many of either end, at most 256.

    Yields:
        Lists that stand for all elements of their sort.
    """
    for base, sorts in _ENDS:
        if is_kind_of(type(collection), base):
            for ends in sorts:
                yield _take(collection, ends, each)
            return


def _take(collection: object, parts: Iterable[Part], each: int) -> list[object]:
    taken: list[object] = []
    for part in parts:
        try:
            taken += list(islice(part(collection), each))
        except RuntimeError:
            # It changed between being asked for an iterator and being iterated over.
            continue
    return taken
