"""The heap census: how many objects of which kind hang from which holder, and which of that grows.

Taken in a forked copy of the process, so that the process goes on meanwhile; compared with one or two earlier
ones. No code of the application runs for it, and no key, value or repr of its objects leaves the snapshot.

How the parts build on each other::

    _spare <- _kinds, _marks, _limits      what a type is; which objects were seen; what it may cost
    _tree <- _labels <- _shapes <- _walk    shapes; their names; which is whose; the walk
    _roots                       where it begins
    _summary <- _merge <- _paths <- _rank     what is kept, compared and named
    _look                        all of that once
    _bare_fork, _fork, _libc, _pins, _isolation, _message, _child    a snapshot and its parent
    _snapshot, _inside           the two ways to take a census
"""

from __future__ import annotations

from otel_memleak.diagnosis.census._child import children_cpu_s
from otel_memleak.diagnosis.census._fork import is_census_fork
from otel_memleak.diagnosis.census._inside import look_in_process
from otel_memleak.diagnosis.census._limits import CensusBudget
from otel_memleak.diagnosis.census._message import Census
from otel_memleak.diagnosis.census._snapshot import Refusal, take_census

__all__ = [
    "Census",
    "CensusBudget",
    "Refusal",
    "children_cpu_s",
    "is_census_fork",
    "look_in_process",
    "take_census",
]
