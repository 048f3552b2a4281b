"""The ring of recent samples."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_memleak.history import History


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 2**62))))
def test_it_keeps_what_a_bounded_deque_keeps(capacity: int, samples: list[tuple[float, int]]) -> None:
    """The last samples, oldest first, whatever the capacity; the rest is counted as dropped."""
    history, expected = History(capacity), deque(samples, maxlen=capacity)

    for time_s, rss_bytes in samples:
        history.append(time_s, rss_bytes)

    assert list(history) == list(expected)
    assert len(history) == len(expected)
    assert history.dropped == len(samples) - len(expected)


def test_a_thousand_samples_take_tens_of_kilobytes_and_no_more() -> None:
    """A full history is 16 bytes a sample and does not grow with further samples."""
    history = History(1000)
    for i in range(5000):
        history.append(float(i), i)

    assert history.nbytes == 16_000


def test_it_refuses_to_hold_nothing() -> None:
    """A ring without room is a mistake of the caller."""
    with pytest.raises(ValueError, match="capacity=0"):
        History(0)
