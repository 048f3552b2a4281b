"""What a place is called: from the module, or the class of the instance that has it, to the container."""

from __future__ import annotations

import sys
from typing import Final

from otel_memleak.diagnosis.census._merge import Shape
from otel_memleak.diagnosis.census._roots import FRAME, MODULE, UNNAMED
from otel_memleak.diagnosis.census._summary import Row
from otel_memleak.diagnosis.census._tree import MANY_TYPES
from otel_memleak.wording import shorten

_CONTAINERS: Final = ("dict", "list", "tuple", "set", "frozenset", "mappingproxy", "object")
_ATOMS: Final = ("str", "bytes", "bytearray", "int", "float", "complex", "bool", "NoneType")
_CODE: Final = (
    "function",
    "method",
    "builtin_function_or_method",
    "type",
    "code",
    "cell",
    "frame",
    "traceback",
)
_MERE_BUILTINS: Final = frozenset((*_CONTAINERS, *_ATOMS, *_CODE, MANY_TYPES))
_MERE_WRAPPERS: Final = ("collections:", "_thread:", "weakref:", "_weakref")


def plain_type(type_name: str) -> str:
    """``module.qualified name``, as Python writes it; empty for what is no type."""
    return "" if type_name.startswith("(") else type_name.replace(":", ".", 1)


def is_named_type(row: Row) -> bool:
    """Whether the type says something by itself: ``dict`` and ``tuple`` do not, code with a place does."""
    if row.site:
        return True
    return row.type_name not in _MERE_BUILTINS and not row.type_name.startswith(_MERE_WRAPPERS)


def holder_path(shape: Shape) -> str:
    """Path of a shape: ``module:attribute.attribute[*]`` or ``module:Class.attribute``.

    An instance's class is where its attributes are filled, so the nearest class that is not the standard
    library's begins the path; then the module it hangs from; then any class at all.
    """
    labels: list[str] = []
    fallback = ""
    node = shape
    while node.parent is not None:
        row = node.row
        if row.type_name == MODULE:
            return shorten(row.label + _attributes(labels))
        if row.type_name == UNNAMED:
            break
        if row.type_name == FRAME:
            return fallback or shorten(row.label + _joined(labels))
        if row.is_instance and ":" in row.type_name and labels:
            if not _is_standard(row.type_name):
                return shorten(row.type_name + _joined(labels))
            fallback = fallback or shorten(row.type_name + _joined(labels))
        if node.parent.row.type_name == UNNAMED:
            name = row.label or (row.type_name if ":" in row.type_name else "")
            return fallback or (shorten(name + _joined(labels)) if name else "")
        labels.append(row.label)
        node = node.parent
    return fallback


def _joined(labels: list[str]) -> str:
    return "".join(reversed(labels))


def _attributes(labels: list[str]) -> str:
    path = _joined(labels)
    return ":" + path[1:] if path.startswith(".") else path


def _is_standard(type_name: str) -> bool:
    top = type_name.partition(":")[0].partition(".")[0]
    return top in sys.stdlib_module_names
