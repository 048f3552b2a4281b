"""What a type is to the census, learnt once per type and without running a line of the application's code.

Everything is read through the descriptors of builtin types (``type.__dict__["__mro__"]`` and the like), which
are C functions: a metaclass, a property or a ``__class__`` of the application's never gets a say.
"""

from __future__ import annotations

import gc
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from otel_memleak.diagnosis.census._spare import SpareDicts

ATOM: Final = 0
"""Holds nothing that can be looked at: text, numbers, buffers, builtin descriptors."""
COLLECTION: Final = 1
"""Holds interchangeable elements: dict, list, tuple, set, deque."""
STRUCT: Final = 2
"""Holds different things at fixed places: instances, closures, generators, objects of C extensions."""
NAMESPACE: Final = 3
"""A dict whose keys are attribute names: that of a module, a class or an instance."""

_NAME_LENGTH: Final = 160
_HEAP_TYPE: Final = 1 << 9
_HAS_GC: Final = 1 << 14
_NO_SPARE: Final = SpareDicts()

Getter = Callable[[Any], Any]

_module_namespaces: Any = vars(types.ModuleType)
_get_module_namespace: Final[Getter] = _module_namespaces["__dict__"].__get__


def _getter(name: str) -> Getter:
    descriptor: Any = type.__dict__[name]
    getter: Getter = descriptor.__get__
    return getter


get_mro: Final = _getter("__mro__")
get_namespace: Final = _getter("__dict__")
_get_qualname: Final = _getter("__qualname__")
_get_module: Final = _getter("__module__")
_get_flags: Final = _getter("__flags__")
_get_basicsize: Final = _getter("__basicsize__")

_COLLECTIONS: Final[tuple[type, ...]] = (dict, list, tuple, set, frozenset, deque)
_LENGTHS: Final[tuple[tuple[type, Callable[[Any], int]], ...]] = tuple(
    (cls, vars(cls)["__len__"]) for cls in _COLLECTIONS
)
_PLUMBING: Final[tuple[type, ...]] = (
    types.CodeType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)
_C_METHODS: Final = (types.MethodDescriptorType, types.WrapperDescriptorType)


def module_of(cls: type) -> str:
    """Module a class says it is from, or an empty string."""
    try:
        module = _get_module(cls)
    except Exception:  # deleted from the class, or the name of a C type that is not UTF-8
        return ""
    return module[:_NAME_LENGTH] if type(module) is str else ""


def qualname_of(cls: type) -> str:
    """Qualified name of a class within its module."""
    try:
        name = _get_qualname(cls)
    except Exception:  # the name of a C type that is not UTF-8
        return "?"
    return name[:_NAME_LENGTH] if type(name) is str else "?"


def is_kind_of(cls: type, *wanted: type) -> bool:
    """`issubclass` by identity over the real MRO; no ``__subclasscheck__``, no ``__eq__`` of metaclasses."""
    mro = get_mro(cls)
    if mro is None:
        return False
    return any(base is one for base in mro for one in wanted)


def _find_in_mro(cls: type, wanted: str) -> Any:
    for base in get_mro(cls) or ():
        for name, value in get_namespace(base).copy().items():
            # A look-up would compare with keys that may be of the application's making.
            if type(name) is str and name == wanted:
                return value
    return None


def is_exactly(thing: object, *classes: type) -> bool:
    """Whether an object is of one of these types and not of a subclass; asks nobody."""
    cls = type(thing)
    return any(cls is one for one in classes)


def as_dict(thing: object) -> dict[Any, Any] | None:
    """The object if it is a plain dict."""
    table: Any = thing
    return table if type(thing) is dict else None


def subtypes_of(cls: type) -> list[type]:
    """A type and all that inherit from it."""
    found = [cls]
    for one in found:
        found.extend(type.__subclasses__(one))
    return found


def addresses_of(types_: Iterable[type]) -> set[int]:
    """Where types are; two that are equal by a metaclass of the application's stay two."""
    return set(map(id, types_))


def type_address(thing: object) -> int:
    """Where the type of an object is."""
    return id(type(thing))


def is_module(thing: object) -> bool:
    """Whether an object is a module."""
    return is_kind_of(type(thing), types.ModuleType)


def namespace_of(module: object) -> dict[Any, Any] | None:
    """Globals of a module; None where it is not finished."""
    return as_dict(_get_module_namespace(module))


def referents_of(thing: object) -> list[Any]:
    """What an object refers to; of a module nothing but its globals.

    A module written in C may visit what only it knows of, and that need not be alive: ``_asyncio`` of
    CPython 3.12 hands out objects on its free list, and to let go of one of those frees it a second time. The
    list then is a ring, and the next collection of garbage never ends.
    """
    return [namespace_of(thing)] if is_module(thing) else gc.get_referents(thing)


def referents_of_all(things: list[Any]) -> list[Any]:
    """What many objects refer to, with the same exception."""
    kinds = addresses_of(subtypes_of(types.ModuleType))
    modules = [thing for thing in things if type_address(thing) in kinds]
    if not modules:
        return gc.get_referents(*things)
    others = [thing for thing in things if type_address(thing) not in kinds]
    return gc.get_referents(*others) + [namespace_of(module) for module in modules]


def length_of(collection: object) -> int:
    """Elements of a builtin collection, or of an instance of its subclass without asking that."""
    for base, length in _LENGTHS:
        if is_kind_of(type(collection), base):
            return length(collection)
    return 0


class Kind:
    """One type, as the census sees it."""

    __slots__ = (
        "cls",
        "fixed_bytes",
        "get_dict",
        "is_class",
        "is_dict",
        "is_module",
        "mode",
        "module",
        "name",
        "ours",
        "sized",
        "slots",
        "spare",
    )

    def __init__(self, cls: type, spare: SpareDicts = _NO_SPARE) -> None:
        self.cls = cls
        self.spare = spare
        self.module = module_of(cls)
        qualname = qualname_of(cls)
        self.name = qualname if self.module in ("", "builtins") else f"{self.module}:{qualname}"
        self.ours = self.module == "otel_memleak" or self.module.startswith("otel_memleak.")
        self.is_class = is_kind_of(cls, type)
        self.is_dict = is_kind_of(cls, dict)
        self.is_module = is_kind_of(cls, types.ModuleType)
        self.mode = self._mode()
        # sys.getsizeof calls __sizeof__ of the type: only when that is C.
        self.sized = is_exactly(_find_in_mro(cls, "__sizeof__"), *_C_METHODS)
        self.fixed_bytes = int(_get_basicsize(cls)) + 16
        self.get_dict: Getter | None = None
        self.slots: tuple[tuple[str, Getter], ...] | None = None

    def _mode(self) -> int:
        flags = _get_flags(self.cls)
        if not flags & _HAS_GC or any(self.cls is one for one in _PLUMBING):
            return ATOM
        return COLLECTION if is_kind_of(self.cls, *_COLLECTIONS) else STRUCT

    def size_of(self, thing: object) -> int:
        """Shallow size of an instance, in bytes."""
        return sys.getsizeof(thing) if self.sized else self.fixed_bytes

    def dict_of(self, thing: object) -> dict[Any, Any] | None:
        """The instance's own ``__dict__``, through the builtin descriptor; None when it has none."""
        self._learn_layout()
        if self.get_dict is None:
            return None
        try:
            return as_dict(self.spare.ask(self.get_dict, thing))
        except Exception:  # a C type brings a getter of its own, which may fail as it likes
            return None

    def slot_holding(self, thing: object, content: object) -> str | None:
        """Name of the slot of an instance that holds exactly this object."""
        self._learn_layout()
        for name, get in self.slots or ():
            try:
                if get(thing) is content:
                    return name
            except Exception:  # an empty slot; text of a C type that is not UTF-8
                continue
        return None

    def _learn_layout(self) -> None:
        if self.slots is not None:
            return
        slots: list[tuple[str, Getter]] = []
        for base in get_mro(self.cls) or ():
            for name, value in get_namespace(base).copy().items():
                if not is_exactly(name, str):
                    continue
                if is_exactly(value, types.MemberDescriptorType):
                    slots.append((name, value.__get__))
                elif name == "__dict__" and is_exactly(value, types.GetSetDescriptorType):
                    self.get_dict = self.get_dict or value.__get__
        self.slots = tuple(slots)


class Kinds:
    """All types seen so far.

    Keyed by address, because a metaclass may define ``__hash__`` or ``__eq__``; each `Kind` keeps its type
    alive, so that an address cannot be used again.

    Args:
        most: Types that may be remembered, half a kilobyte each.
        spare: For instances of theirs that have no dict yet.
    """

    def __init__(self, most: int, spare: SpareDicts = _NO_SPARE) -> None:
        self._by_address: dict[int, Kind] = {}
        self._most = most
        self._spare = spare

    def of(self, thing: object) -> Kind:
        """The kind of an object.

        Raises:
            MemoryError: There are more types than may be remembered.
        """
        cls = type(thing)
        kind = self._by_address.get(id(cls))
        if kind is None:
            if len(self._by_address) >= self._most:
                raise MemoryError
            kind = self._by_address[id(cls)] = Kind(cls, self._spare)
        return kind
