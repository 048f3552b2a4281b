"""Where a walk begins: modules, the locals of running functions, and what only C code holds."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from otel_memleak.diagnosis.census._kinds import (
    COLLECTION,
    NAMESPACE,
    as_dict,
    is_exactly,
    is_kind_of,
    is_module,
    module_of,
    namespace_of,
    qualname_of,
    referents_of_all,
)
from otel_memleak.diagnosis.census._labels import ELEMENT, MODULE_MAX_NAMES, attribute, namespace_mode
from otel_memleak.diagnosis.census._marks import Marks
from otel_memleak.diagnosis.census._tree import Node
from otel_memleak.diagnosis.census._walk import Walker
from otel_memleak.wording import shorten

MODULE: Final = "(module)"
FRAME: Final = "(function)"
UNNAMED: Final = "(unnamed)"
"""Type names of the nodes directly below the root, which say what kind of root it is."""

_THREAD_DATA: Final = "threading:local"
_OPTIMIZED: Final = 1
"""``CO_OPTIMIZED``: locals live in the frame; without it they are a namespace of the application's making."""
_CHUNK: Final = 4096
_EXPORTING: Final = ("opentelemetry.sdk.", "opentelemetry.exporter.")


def add_modules(walker: Walker) -> Iterator[None]:
    """Count what every module's globals hold, each thing at the module that defined it; a module a step."""
    modules = _modules()
    for _, module, namespace in modules:
        walker.marks.put(id(module))
        walker.marks.put(id(namespace))
    nodes = [_module_node(walker, name) for name, _, _ in modules]
    for foreign in (False, True):
        for (name, _, namespace), node in zip(modules, nodes, strict=True):
            _add_globals(walker, node, name, namespace, foreign=foreign)
            yield


def _modules() -> list[tuple[str, Any, dict[Any, Any]]]:
    """Modules in the order of their import, except that the program itself and ours come last.

    What a program imports from its modules is theirs.
    """
    found: list[tuple[int, str, Any, dict[Any, Any]]] = []
    for name, module in list(sys.modules.items()):
        if type(name) is str and is_module(module):
            namespace = namespace_of(module)
            if namespace is not None:
                found.append((_late(name), name, module, namespace))
    found.sort(key=lambda one: one[0])
    return [one[1:] for one in found]


def _late(name: str) -> int:
    if name == "otel_memleak" or name.startswith("otel_memleak."):
        return 2
    return 1 if name == "__main__" else 0


def _module_node(walker: Walker, name: str) -> Node:
    node = walker.root.child(shorten(name), MODULE, 0)
    node.count = 1
    node.ours = _late(name) == 2
    return node


def _add_globals(walker: Walker, node: Node, name: str, namespace: dict[Any, Any], *, foreign: bool) -> None:
    named = namespace_mode(namespace, MODULE_MAX_NAMES) != COLLECTION
    if not foreign:
        node.own_bytes = sys.getsizeof(namespace)
    for key, value in namespace.copy().items():
        if _is_foreign(name, namespace, value) is foreign:
            walker.add_global(node, attribute(key) if named else ELEMENT, value)


def _is_foreign(name: str, namespace: dict[Any, Any], value: Any) -> bool:
    """Whether a class or function was only imported here."""
    if is_exactly(value, types.FunctionType):
        return bool(value.__globals__ is not namespace)
    if _is_class(value):
        home = module_of(value)
        return home != name and home in sys.modules
    return False


def add_stacks(walker: Walker, stacks: Sequence[Sequence[Any]]) -> None:
    """Count what the locals of running functions hold.

    Args:
        walker: Where to count.
        stacks: Frames of each thread, innermost first.
    """
    for stack in stacks:
        modules = [_name_of_globals(frame.f_globals) for frame in stack]
        export = _export_depth(modules)
        for depth, (frame, module) in enumerate(zip(stack, modules, strict=True)):
            walker.marks.put(id(frame))
            if frame.f_code.co_flags & _OPTIMIZED:
                _add_locals(walker, frame, module, passing=depth < export)


def _export_depth(modules: list[str]) -> int:
    """How many of these, innermost first, do the exporting of telemetry or what it has called.

    What they hold is on its way out, a batch of spans as large as what leaked meanwhile.
    """
    outermost = (depth for depth in reversed(range(len(modules))) if modules[depth].startswith(_EXPORTING))
    return next(outermost, -1) + 1


def _add_locals(walker: Walker, frame: Any, module: str, *, passing: bool) -> None:
    code = frame.f_code
    name = shorten(getattr(code, "co_qualname", code.co_name))
    node = walker.root.child(f"{shorten(module)}:{name}", FRAME, 0)
    node.count += 1
    node.ours = passing or _late(module) == 2
    for local, value in walker.locals_of(frame):
        walker.add(node, ".<locals>" + attribute(local), value)


def _name_of_globals(namespace: object) -> str:
    name: Any = (as_dict(namespace) or {}).get("__name__")
    return str(name) if is_exactly(name, str) else "?"


def add_thread_data(walker: Walker, pinned: Iterable[object]) -> None:
    """Count thread-local data that the fork has cut from the objects it belongs to."""
    node = walker.root.child(UNNAMED, UNNAMED, 0)
    node.count = 1
    for namespace in pinned:
        if is_exactly(namespace, dict):
            walker.add(node, _THREAD_DATA, namespace, NAMESPACE)


def add_unreached(walker: Walker, tracked: list[object]) -> Iterator[None]:
    """Find what no module leads to, and begin anew at what C code or a running thread holds.

    Among objects that were not reached, those referred to more often than by each other are held from
    outside; from them everything alive is reached. The rest is garbage that waits for its collection and is
    left out.

    Args:
        walker: A walker that has walked everything else.
        tracked: What `gc.get_objects` gave before the walk; emptied.
    """
    marks = walker.marks
    unreached = [thing for thing in tracked if not marks.get(id(thing))]
    tracked.clear()
    yield
    referrers = Marks()
    referrers.put_all(map(id, unreached))
    yield
    for start in range(0, len(unreached), _CHUNK):
        referrers.bump_all(map(id, referents_of_all(unreached[start : start + _CHUNK])))
        yield
    node = walker.root.child(UNNAMED, UNNAMED, 0)
    node.count = 1
    for thing in _held_from_outside(unreached, referrers):
        walker.add(node, _class_name(thing) if _is_class(thing) else "", thing)


def _is_class(thing: object) -> bool:
    return is_kind_of(type(thing), type)


def _class_name(cls: Any) -> str:
    return f"{module_of(cls)}:{qualname_of(cls)}"


def _held_from_outside(unreached: list[object], referrers: Marks) -> list[object]:
    probe: list[object] = [object()]
    alone = next(map(sys.getrefcount, probe))
    found: list[object] = []
    # The count comes first in the pair, or the pair would be counted.
    for count, thing in zip(map(sys.getrefcount, unreached), unreached, strict=True):
        if count - alone > referrers.get(id(thing)) - 1:
            found.append(thing)
    found.sort(key=_rank)
    return found


def _rank(thing: object) -> int:
    """Instances before containers: of two things that hold each other the instance gives the better name."""
    kind = type(thing)
    if is_kind_of(kind, dict, list, tuple, set):
        return 1
    return 0
