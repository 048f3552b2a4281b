"""The parser of state files against anything at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_memleak.detector import LeakDetector
from otel_memleak.state.document import Document, RefusedError, decode, encode

GOLDEN = (Path(__file__).parents[1] / "data" / "state" / "v1-open-incident.json").read_bytes()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def read(content: bytes) -> Document | None:
    """What the parser makes of it; only one kind of error is allowed."""
    try:
        document = decode(content)
    except RefusedError:
        return None
    # What is accepted must do no harm further on.
    detector = LeakDetector(1 << 30)
    detector.restore_state(document.detector)
    for index in range(20):
        detector.update(document.saved_s + 60.0 * index, 1e8 + 1e6 * index)
    return document


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at] + [path for key, inner in items for path in paths(inner, (*at, key))]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(content: bytes) -> None:
    """Random bytes are no state file, and no exception but the one."""
    assert read(content) is None


@settings(deadline=None)
@given(st.integers(0, len(GOLDEN)), st.integers(0, len(GOLDEN)), st.binary(max_size=8))
def test_a_damaged_file_is_refused_or_read_as_it_is(start: int, stop: int, put: bytes) -> None:
    """Cut short, overwritten in the middle, a byte too many: never a crash, never a half."""
    document = read(GOLDEN[:start] + put + GOLDEN[stop:])

    assert document is None or decode(encode(document)) == document


@settings(deadline=None)
@given(st.data(), json_values)
def test_any_value_in_any_place_is_refused_or_harmless(data: st.DataObject, value: object) -> None:
    """A file by somebody who knows the format: no field takes what it should not."""
    document = json.loads(GOLDEN)
    places = [path for path in paths(document) if path]
    path = data.draw(st.sampled_from(places))
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value

    found = read(json.dumps(document).encode())

    assert found is None or decode(encode(found)) == found


@settings(deadline=None)
@given(st.floats(-1e12, 1e12), st.floats(0, 2.0**60), st.floats(-(2.0**60), 2.0**60))
def test_extreme_but_valid_numbers_are_survived(time_s: float, size: float, rate: float) -> None:
    """Every number within the bounds can be computed with."""
    document = json.loads(GOLDEN)
    detector = document["detector"]
    for life in [detector["life"], *detector["lives"]]:
        life.update(start_s=time_s, level_bytes=size, deviation_bytes=size, slope=rate, low=rate, late=rate)
    detector["leak"]["slope"] = abs(rate)

    assert read(json.dumps(document).encode()) is not None
