"""Our median against the standard library's."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_memleak.median import median


@given(st.lists(st.floats(-1e300, 1e300), min_size=1))
def test_it_is_the_median(values: list[float]) -> None:
    """The same answer as the library it replaces, for any numbers in any order."""
    assert median(values) == statistics.median(values)


def test_nothing_has_no_median() -> None:
    """A caller without values has made a mistake."""
    with pytest.raises(IndexError):
        median([])
