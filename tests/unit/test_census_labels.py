"""Names of what functions have from around them, whichever way the interpreter is asked for them."""

from __future__ import annotations

import gc
import types
from typing import Any

import pytest

from otel_memleak.diagnosis.census import _labels


def closures() -> list[types.FunctionType]:
    """All functions of this process that have something from around them."""
    return [thing for thing in gc.get_objects() if type(thing) is types.FunctionType and thing.__closure__]


def outer(argument: int) -> Any:
    """A function with arguments, locals, cells and free variables, to be told apart."""
    first, second = argument, argument + 1

    def middle(*rest: int, only: int = 0) -> Any:
        own = first + only

        def inner() -> tuple[object, ...]:
            return first, second, own, rest, argument

        return inner, second

    return middle


def names(function: Any) -> list[str]:
    return list(_labels._free_names(function.__code__, len(function.__closure__)))


def test_they_are_those_that_the_code_tells() -> None:
    """In their order, for every function there is: a wrong name would accuse the wrong variable."""
    middle = outer(1)
    inner, _ = middle(2, 3)

    assert names(middle) == ["argument", "first", "second"]
    assert names(inner) == ["argument", "first", "own", "rest", "second"]
    others = closures()
    assert len(others) > 100
    for function in others:
        assert names(function) == list(function.__code__.co_freevars)


@pytest.mark.parametrize("most", [0, 3])
def test_where_they_cannot_be_asked_for_one_by_one_the_code_tells(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """An interpreter may lack what is no public method; and no end is looked for in vain."""
    monkeypatch.setattr(_labels, "_MOST_VARIABLES", most)

    assert names(outer(1)) == ["argument", "first", "second"]
