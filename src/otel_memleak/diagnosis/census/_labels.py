"""What an edge of the object graph is called: attribute names, never keys or values.

Asked once per shape, not per object, so it may be slow. Only C code of builtin types runs.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_memleak.diagnosis._places import short_path
from otel_memleak.diagnosis.census._kinds import (
    COLLECTION,
    NAMESPACE,
    STRUCT,
    Kind,
    as_dict,
    get_namespace,
    is_exactly,
    is_kind_of,
    qualname_of,
)
from otel_memleak.diagnosis.census._tree import Node
from otel_memleak.wording import looks_like_data

ELEMENT: Final = "[*]"
THROUGH: Final = ""
"""Label of an edge that adds nothing to a path: from an instance to its ``__dict__``."""

MAX_NAMES: Final = 200
"""A namespace with more names than this holds data under them: its names stay here."""
MODULE_MAX_NAMES: Final = 2000
_NAME_LENGTH: Final = 80
_MOST_VARIABLES: Final = 10_000

_FRAME_OF: Final[dict[type, str]] = {
    types.GeneratorType: "gi_frame",
    types.CoroutineType: "cr_frame",
    types.AsyncGeneratorType: "ag_frame",
}
_SUSPENDABLE: Final = tuple(_FRAME_OF)
_CODE_OF: Final[dict[type, str]] = {
    types.FunctionType: "__code__",
    types.GeneratorType: "gi_code",
    types.CoroutineType: "cr_code",
    types.AsyncGeneratorType: "ag_code",
}
_WRAPPERS_OF_CODE: Final = ("method", "partial", "Task", "Handle", "TimerHandle")


@dataclass(frozen=True, slots=True)
class Edge:
    """A label, and how to look into what it leads to where that differs from the kind's own way."""

    label: str
    mode: int | None = None


_THROUGH: Final = Edge(THROUGH)
_ELEMENT: Final = Edge(ELEMENT)


def attribute(name: object) -> str:
    """Label for an attribute name; a name that is no identifier, or looks like a key or token, is data."""
    if type(name) is str and len(name) <= _NAME_LENGTH and name.isidentifier() and not looks_like_data(name):
        return "." + name
    return ELEMENT


def namespace_mode(namespace: dict[Any, Any], limit: int = MAX_NAMES) -> int:
    """Whether a ``__dict__`` holds attributes, or is used as a collection."""
    return NAMESPACE if len(namespace) <= limit else COLLECTION


def label_edge(parent: Node, kind: Kind, holder: Any, content: object, *, may_peek: bool) -> Edge:
    """Name the edge from a holder that is not a collection to something it holds.

    Args:
        parent: Node of the holder.
        kind: Kind of the holder.
        holder: An object counted at ``parent``.
        content: What it holds.
        may_peek: Whether locals of suspended frames may be looked up, which writes to the frame.
    """
    if kind.is_class:
        return _class_edge(holder, content)
    if is_exactly(holder, tuple) and is_exactly(content, types.CellType):
        return Edge(_closure_label(parent, holder, content))
    table = as_dict(content)
    if table is not None and is_kind_of(kind.cls, threading.local):
        return Edge(THROUGH, STRUCT)
    if table is not None and as_dict(holder) is not None:
        # The table of a thread-local: by thread, a namespace.
        return Edge(THROUGH, namespace_mode(table))
    if is_exactly(holder, types.FunctionType):
        return Edge(THROUGH, STRUCT) if content is holder.__closure__ else _THROUGH
    if may_peek and is_exactly(holder, *_SUSPENDABLE):
        return Edge(_local_label(holder, content))
    return _instance_edge(kind, holder, content)


def _class_edge(holder: Any, content: object) -> Edge:
    table = as_dict(content)
    if table is not None and any(table is one for one in gc.get_referents(get_namespace(holder))):
        return Edge(THROUGH, namespace_mode(table, MODULE_MAX_NAMES))
    return _THROUGH


def _closure_label(parent: Node, closure: tuple[Any, ...], content: object) -> str:
    function: Any = None if parent.parent is None else parent.parent.exemplar
    if not is_exactly(function, types.FunctionType) or function.__closure__ is not closure:
        return THROUGH
    for name, cell in zip(_free_names(function.__code__, len(closure)), closure, strict=False):
        if cell is content:
            return ".<locals>" + attribute(name)
    return THROUGH


def _free_names(code: Any, count: int) -> Sequence[str]:
    """Names of the variables that a function has from around it.

    Asked for ``co_freevars``, code of CPython 3.12 and newer makes a tuple and keeps it; asked for one name
    after the other, of which these are the last, it keeps nothing. See `_spare` for why that matters.
    """
    names: list[str] = []
    with contextlib.suppress(Exception):  # an IndexError at the end; but the method is not a public one
        while len(names) < _MOST_VARIABLES:
            names.append(code._varname_from_oparg(len(names)))
    if count <= len(names) < _MOST_VARIABLES:
        return names[-count:]
    known: tuple[str, ...] = code.co_freevars
    return known


def _local_label(holder: Any, content: object) -> str:
    frame = next(getattr(holder, name) for cls, name in _FRAME_OF.items() if is_exactly(holder, cls))
    for name, value in dict(frame.f_locals).items() if frame is not None else ():
        if value is content:
            return ".<locals>" + attribute(name)
    return THROUGH


def _instance_edge(kind: Kind, holder: object, content: object) -> Edge:
    namespace = kind.dict_of(holder)
    if namespace is not None:
        if content is namespace:
            return Edge(THROUGH, namespace_mode(namespace))
        if len(namespace) <= MAX_NAMES:
            for name, value in namespace.copy().items():
                if value is content:
                    return Edge(attribute(name))
    slot = kind.slot_holding(holder, content)
    return _THROUGH if slot is None else Edge(attribute(slot))


def definition_site(thing: Any) -> str:
    """``file:line`` of the code of a function, a coroutine, or a callback or task around one; else empty."""
    for _ in range(4):
        for cls, name in _CODE_OF.items():
            if is_exactly(thing, cls):
                return _site(getattr(thing, name))
        if qualname_of(_class_of(thing)) not in _WRAPPERS_OF_CODE:
            return ""
        thing = next((one for one in gc.get_referents(thing) if _has_code(one)), None)
    return ""


def _class_of(thing: object) -> type:
    return type(thing)


def _has_code(thing: object) -> bool:
    return is_exactly(thing, types.MethodType, *_CODE_OF)


def _site(code: types.CodeType) -> str:
    return f"{short_path(code.co_filename)}:{code.co_firstlineno}"
