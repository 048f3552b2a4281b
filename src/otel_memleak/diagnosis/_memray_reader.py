"""Reads a recording in a process of its own: ``python -I -S _memray_reader.py LIBRARY RECORDING OUTPUT``.

Not in the process that was recorded: looking up symbols took 90 MB there for a small program, and kept
them. LIBRARY is the folder memray lies in. OUTPUT gets a JSON array of what was still alive at the end:
bytes, blocks, the names of the native functions that allocated (innermost first), and the Python line.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

_MOST_RECORDS: Final = 200
_MOST_FRAMES: Final = 40
_NATIVE_FRAMES: Final = 3
_INTERPRETER_SOURCES: Final = ("Objects/", "Python/", "Modules/", "Include/")
_INTERPRETER_NAMES: Final = ("_Py", "Py", "cfunction_", "method_vectorcall", "slot_tp_", "object_vacall")
_NAMELESS: Final = frozenset({"", "<unknown>", "???"})
"""Functions of stripped libraries."""
_ARENAS: Final = frozenset({"_PyObject_ArenaMmap", "_PyMem_ArenaAlloc", "new_arena"})
"""Memory for Python's small objects, whoever happened to need one when the last arena was full."""

Frame = tuple[str, str, int]


def summarise(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the largest of what is still alive, by native function and Python line.

    Args:
        records: memray's allocation records.
    """
    largest = sorted(records, key=lambda record: -record.size)[:_MOST_RECORDS]
    found: dict[tuple[tuple[str, ...], str, int], list[int]] = {}
    for record in largest:
        python: Sequence[Frame] = record.stack_trace(1)
        stack: Sequence[Frame] = record.hybrid_stack_trace(_MOST_FRAMES)
        names = native_frames(stack, python[0] if python else None)
        if names is not None:
            _, filename, line = python[0] if python else ("", "", 0)
            totals = found.setdefault((names, filename, line), [0, 0])
            totals[0] += record.size
            totals[1] += record.n_allocations
    return [
        {"bytes": size, "count": count, "native": names, "file": filename, "line": line}
        for (names, filename, line), (size, count) in found.items()
    ]


def native_frames(stack: Sequence[Frame], python: Frame | None) -> tuple[str, ...] | None:
    """Return the native functions that allocated, innermost first, without the interpreter's own.

    Args:
        stack: Native and Python frames, innermost first.
        python: The innermost Python frame, where the native ones end.

    Returns:
        Up to three names; none when the interpreter itself, or only nameless code, allocated; None for
        the interpreter's arenas.
    """
    native = list(stack[: stack.index(python)] if python in stack else stack)
    if any(name in _ARENAS for name, _, _ in native):
        return None
    names = [name for name, source, _ in native if not _is_interpreter(name, source)]
    return tuple(name for name in names if name not in _NAMELESS)[:_NATIVE_FRAMES]


def _is_interpreter(name: str, source: str) -> bool:
    return name.startswith(_INTERPRETER_NAMES) or any(part in source for part in _INTERPRETER_SOURCES)


def main(library: str, recording: str, output: str) -> None:
    """Read the recording and write what was found, at once and complete."""
    os.nice(19)
    sys.path.append(library)
    memray = importlib.import_module("memray")
    with memray.FileReader(recording) as reader:
        found = summarise(reader.get_leaked_allocation_records(merge_threads=True))
    with open(output + ".part", "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.replace(output + ".part", output)


if __name__ == "__main__":
    main(*sys.argv[1:])
