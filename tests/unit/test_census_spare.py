"""A look from inside gives back the memory it took: what instances keep of it lies in one place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from otel_memleak.diagnosis.census._spare import SpareDicts

get_dict: Callable[[Any], Any]


class Thing:
    """Something that has attributes and, from CPython 3.11 on, no dict."""

    def __init__(self) -> None:
        self.value = object()


get_dict = vars(Thing)["__dict__"].__get__


@pytest.mark.skipif(sys.version_info < (3, 11), reason="instances of CPython 3.10 have their dicts already")
@pytest.mark.parametrize("freed", [0, 200])
def test_a_dict_that_is_made_for_an_instance_is_one_of_the_spare(freed: int) -> None:
    """However many dicts the interpreter keeps for further use at that moment."""
    things = [Thing() for _ in range(50)]
    spare = SpareDicts(100)
    places = set(map(id, spare._dicts))
    others = [{} for _ in range(300)]  # type: ignore[var-annotated]
    del others[:freed]

    made = [spare.ask(get_dict, thing) for thing in things]

    assert [table["value"] for table in made] == [thing.value for thing in things]
    assert set(map(id, made)) <= places


def test_when_they_are_used_up_the_answer_is_the_same() -> None:
    """It is only memory."""
    spare = SpareDicts(2)
    things = [Thing() for _ in range(4)]

    assert [spare.ask(get_dict, thing)["value"] for thing in things] == [thing.value for thing in things]


def test_what_a_getter_raises_is_raised() -> None:
    """Getters of C types may fail as they like."""
    with pytest.raises(TypeError):
        SpareDicts(2).ask(get_dict, 5)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython 3.10 keeps a frame of every function called")
@pytest.mark.skipif("PYTHONMALLOC" in os.environ, reason="counts the arenas of the interpreter's own malloc")
def test_a_look_from_inside_gives_back_most_of_its_memory() -> None:
    """A process near its limit is looked at from inside, and must not be brought nearer by that."""
    program = """
import asyncio, concurrent.futures, email.parser, gc, http.server, logging.config, sqlite3, sys, unittest.mock
import opentelemetry.sdk.metrics, opentelemetry.sdk.trace, xml.dom.minidom
from otel_memleak.diagnosis.census import CensusBudget, look_in_process
for name in "before", "with", "after":
    print(name, file=sys.stderr, flush=True)
    if name == "with":
        census = look_in_process(CensusBudget(in_process_s=1000.0), 0.0, sleep=lambda _: None)
    if name == "after":
        del census
    gc.collect() if name != "with" else None
    sys._debugmallocstats()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100
    )
    arenas = [int(number) for number in re.findall(r"arenas allocated current\s+=\s+([\d,]+)", done.stderr)]
    before, during, after = arenas

    assert during > before + 3
    assert after - before < 0.5 * (during - before)
