"""Named tuples of our own behave as the library's, where anybody would notice."""

from __future__ import annotations

import copy
import inspect
import pickle
import typing
from pathlib import Path
from typing import Any

import pytest

import otel_memleak
from otel_memleak.records import NamedTuple
from otel_memleak.types import Diagnosis, LeakAlert, MemoryLimit, RouteSuspect, Sample


class Ours(NamedTuple):
    """One of ours."""

    first: int
    second: str = "b"
    third: float | None = None

    @property
    def doubled(self) -> int:
        return 2 * self.first


class Theirs(typing.NamedTuple):
    first: int
    second: str = "b"
    third: float | None = None


def outcome(make: type, *positional: Any, **named: Any) -> object:
    try:
        return tuple(make(*positional, **named))
    except TypeError:
        return TypeError


@pytest.mark.parametrize(
    ("positional", "named"),
    [
        ((1,), {}),
        ((1, "x", 2.0), {}),
        ((1,), {"third": 3.0}),
        ((), {"second": "y", "first": 2}),
        ((), {}),
        ((1, "x", 2.0, 4), {}),
        ((1,), {"first": 2}),
        ((1,), {"fourth": 2}),
    ],
)
def test_arguments_are_taken_as_the_librarys_takes_them(
    positional: tuple[Any, ...], named: dict[str, Any]
) -> None:
    """By position, by name, by default; what is missing or unknown is refused."""
    assert outcome(Ours, *positional, **named) == outcome(Theirs, *positional, **named)


def test_it_is_a_tuple_with_names() -> None:
    """Unpacked, compared, matched, hashed, shown, copied and pickled like any other."""
    one, same = Ours(1, third=2.0), Theirs(1, third=2.0)
    first, *rest = one

    assert (first, rest) == (1, ["b", 2.0])
    assert one == same == (1, "b", 2.0)
    assert hash(one) == hash(same)
    assert repr(one) == repr(same).replace("Theirs", "Ours")
    assert (one._fields, one.__match_args__) == (same._fields, same.__match_args__)
    assert one._asdict() == same._asdict()
    assert Ours._make([5, "c", None]) == (5, "c", None)
    assert (one.first, one.doubled, Ours.__doc__) == (1, 2, "One of ours.")
    for other in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one), one._replace()):
        assert other == one
        assert type(other) is Ours
    assert [str(p) for p in inspect.signature(Ours).parameters.values()] == [
        "first",
        "second='b'",
        "third=None",
    ]


def test_it_cannot_be_changed() -> None:
    """Neither a field nor a name that is none; a changed copy knows its fields."""
    one: Any = Ours(1)

    for name in ("first", "fourth"):
        with pytest.raises(AttributeError):
            setattr(one, name, 2)
    assert one._replace(first=7, second="z") == (7, "z", None)
    with pytest.raises(ValueError, match="fourth"):
        one._replace(fourth=1)


def test_a_subclass_is_one_as_well() -> None:
    """Users derive from what they are given."""

    class Derived(Ours):
        extra = 5

    assert Derived(3)._replace(second="q") == (3, "q", None)
    assert (Derived(3).extra, Derived(3).doubled) == (5, 6)


def test_public_types_know_their_home_and_their_annotations() -> None:
    """Pickles of an earlier release are read, and tools that ask for types get them, also before first use."""
    for kind in (LeakAlert, Diagnosis, RouteSuspect, Sample, MemoryLimit):
        assert kind.__module__ == "otel_memleak.types"
        assert typing.get_type_hints(kind)
    route = RouteSuspect("GET /", 1.0, 0.5, 2.0)
    assert pickle.loads(pickle.dumps(Diagnosis("id", 1.0, "python", routes=(route,)))).routes == (route,)


def test_who_makes_one_leaves_its_annotations_text() -> None:
    """Evaluated ones, as CPython 3.14 has them, would not be seen when the class is made."""
    root = Path(otel_memleak.__file__).parent
    makers = [path for path in root.rglob("*.py") if "records import NamedTuple" in path.read_text("utf-8")]

    assert len(makers) > 20
    assert [
        path for path in makers if "from __future__ import annotations" not in path.read_text("utf-8")
    ] == []
