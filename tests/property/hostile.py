"""Input that parsers are afraid of: what they look for, in any order, and damaged documents."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

words = st.sampled_from(
    ["", " ", "0", "-0", "1", "10", "60000", "2147483647", "2147483648", "1e3", "1e400", "nan", "-inf", "0x10", "1_0",
     "٣", "１２", "9" * 400, "auto", "AUTO", "on", "off", "none", "true", "log", "log,span_event", ",", "*", "[", "[!]",
     "disabled", "development", "/tmp/x", "\0", "\udcff", "µ", "a" * 5000]
)  # fmt: skip
texts = words | st.text(st.characters(), max_size=30) | st.lists(words, max_size=4).map("".join)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, 1e308, 5e-324])
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON document there is anything."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in items for place in places(inner, (*at, key)))]


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> Any:
    """A document of the right form with one to three values replaced by anything."""
    whole = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(whole, ())[1:]))
        at: Any = whole
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = draw(json_values)
    return whole[0]
