"""Named tuples at a third of the price.

A class made by `typing.NamedTuple` takes seven kilobytes: methods of its own, evaluated annotations. A
process that is watched has some forty of them. Here they share their methods, and annotations stay text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["NamedTuple"]

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    try:
        from _collections import _tuplegetter
    except ImportError:  # another implementation
        from operator import itemgetter

        def _tuplegetter(index, doc):
            return property(itemgetter(index), doc=doc)

    _GLOBALS = {"__builtins__": {}, "__name__": __name__, "new": tuple.__new__}

    class _Making(type):
        def __new__(cls, name, bases, names):
            if "__slots__" in names or bases != (NamedTuple,):
                return super().__new__(cls, name, bases, names)
            fields = tuple(names["__annotations__"])
            defaults = tuple(names[field] for field in fields if field in names)
            arguments = ", ".join(fields)
            make = eval(f"lambda cls, {arguments}: new(cls, ({arguments},))", _GLOBALS)
            make.__name__, make.__defaults__ = "__new__", defaults
            names |= {field: _tuplegetter(index, None) for index, field in enumerate(fields)}
            names |= {"__slots__": (), "__new__": make, "_fields": fields, "__match_args__": fields}
            return super().__new__(cls, name, bases, names)

    class NamedTuple(tuple, metaclass=_Making):
        """What `typing.NamedTuple` gives, for modules with ``from __future__ import annotations``."""

        __slots__ = ()
        _fields = ()

        @classmethod
        def _make(cls, values):
            return cls(*values)

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, /, **changes):
            made = type(self)(*map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"Got unexpected field names: {list(changes)!r}")
            return made

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({fields})"
