"""Who is named for a growth, from counts and sizes alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_memleak.diagnosis.census._merge import merge
from otel_memleak.diagnosis.census._rank import rank
from otel_memleak.diagnosis.census._roots import FRAME, MODULE, UNNAMED
from otel_memleak.diagnosis.census._summary import Row, Summary

HOUR = 3600.0
MEGA = 1_000_000
Spec = tuple[str, str, int, int, list["Spec"]]


def row(parent: int, label: str, kind: str, count: int, own: int, total: int, *, ours: bool = False) -> Row:
    instance = ":" in kind and not kind.startswith("collections:")
    return Row(parent, label, kind, count, own, total, "", instance, ours)


def total_of(spec: Spec) -> int:
    return spec[3] + sum(total_of(child) for child in spec[4])


def summary(hour: float, *modules: Spec) -> Summary:
    """A summary out of nested ``(label, type, count, own bytes, children)``."""
    root: Spec = ("", "", 0, 0, list(modules))
    rows: list[Row] = []

    def add(spec: Spec, parent: int) -> None:
        label, kind, count, own, children = spec
        rows.append(row(parent, label, kind, count, own, total_of(spec)))
        index = len(rows) - 1
        for child in children:
            add(child, index)

    add(root, -1)
    return Summary(hour * HOUR, True, tuple(rows))


def module(name: str, *children: Spec) -> Spec:
    return (name, MODULE, 1, 0, list(children))


def cache(entries: int, *, label: str = "._sessions", kind: str = "shop:Session", each: int = 1000) -> Spec:
    return (label, "dict", 1, entries * 100, [("[*]", kind, entries, entries * each, [])])


def test_the_container_that_stays_one_while_its_elements_grow_is_named() -> None:
    """Law: the holder is where the number of children grows and the number of holders does not."""
    before, after = (summary(h, module("shop.cache", cache(n))) for h, n in ((0, 1000), (1, 5000)))

    [suspect] = rank([before, after])

    assert (suspect.owner, suspect.type) == ("shop.cache:_sessions", "shop.Session")
    assert suspect.growth_count_per_hour == 4000
    assert suspect.growth_bytes_per_hour == 4000 * 1100
    assert suspect.share == 1.0


def test_elements_that_grow_along_with_their_holders_are_not_the_leak() -> None:
    """Law: twice the sessions with two items each is a growth of sessions, not of items."""

    def state(sessions: int) -> Spec:
        items: Spec = (
            ".items",
            "list",
            sessions,
            sessions * 80,
            [("[*]", "int", sessions * 2, sessions * 64, [])],
        )
        held: Spec = ("[*]", "shop:Session", sessions, sessions * 50, [items])
        return module("shop", ("._all", "list", 1, sessions * 8, [held]))

    [suspect] = rank([summary(0, state(100)), summary(1, state(200))])

    assert (suspect.owner, suspect.type) == ("shop:_all", "shop.Session")


def test_one_heavy_cache_among_more_sessions_is_not_blamed_on_the_sessions() -> None:
    """Law: what grows in proportion is explained by its holders; what grows beyond that is the leak."""

    def state(sessions: int, cached: int) -> Spec:
        data: Spec = (
            ".data",
            "list",
            sessions,
            sessions * 80,
            [("[*]", "shop:Row", sessions, sessions * 9000, [])],
        )
        held: Spec = (
            "[*]",
            "shop:Session",
            sessions,
            sessions * 50,
            [data, cache(cached, label=".cache", kind="shop:Page")],
        )
        return module("shop", ("._all", "list", 1, sessions * 8, [held]))

    suspects = rank([summary(0, state(100, 10)), summary(1, state(200, 2000))])

    assert [one.owner for one in suspects] == ["shop:Session.cache"]


def test_lists_that_grow_in_a_fixed_number_of_instances_are_named_by_their_class() -> None:
    """Law: the accumulation point may be many alike; the class tells which."""

    def state(events: int) -> Spec:
        history: Spec = (".history", "list", 10, events * 8, [("[*]", "shop:Event", events, events * 90, [])])
        return module("shop", ("._workers", "list", 1, 80, [("[*]", "shop:Worker", 10, 500, [history])]))

    [suspect] = rank([summary(0, state(100)), summary(1, state(90_000))])

    assert (suspect.owner, suspect.type) == ("shop:Worker.history", "shop.Event")


def test_a_container_of_atoms_is_named_by_its_own_growth() -> None:
    """Law: a buffer grows without any object becoming more."""
    before, after = (
        summary(h, module("shop", ("._buffer", "bytearray", 1, size, []))) for h, size in ((0, 10), (1, MEGA))
    )

    [suspect] = rank([before, after])

    assert (suspect.owner, suspect.type, suspect.growth_count_per_hour) == ("shop:_buffer", "bytearray", 0.0)


def test_what_stops_growing_is_not_named() -> None:
    """Law: a suspect grows in every step; a cache that has filled up does not."""
    filled = [summary(h, module("shop", cache(n))) for h, n in ((0, 1000), (1, 5000), (2, 5010))]
    leaking = [summary(h, module("shop", cache(n))) for h, n in ((0, 1000), (1, 5000), (2, 9000))]

    assert rank(filled) == ()
    assert len(rank(leaking)) == 1


def test_what_does_not_account_for_the_growth_is_not_named() -> None:
    """Law: unknown is an answer; eleven hundredths of the growth are not its reason."""
    summaries = [summary(h, module("shop", cache(n))) for h, n in ((0, 0), (1, 1000))]
    grown = 1000 * 1100

    assert rank(summaries, grown / 0.11) == ()
    [suspect] = rank(summaries, grown / 0.2)
    assert suspect.share == pytest.approx(0.2)


def test_at_most_five_are_named_and_the_worst_comes_first() -> None:
    """Law: five suspects, in the order of their growth."""

    def state(n: int) -> list[Spec]:
        return [cache(n, label=f"._cache{i}", each=1000 + i) for i in range(7)]

    suspects = rank(
        [summary(0, module("shop", *state(10))), summary(1, module("shop", *state(1000)))], min_share=0.01
    )

    assert [one.owner for one in suspects] == [f"shop:_cache{i}" for i in (6, 5, 4, 3, 2)]


def test_our_own_objects_are_not_suspects() -> None:
    """Law: what this package holds never appears, however it grows."""

    def state(hour: float, n: int) -> Summary:
        plain = summary(hour, module("otel_memleak.history", cache(n)))
        return Summary(plain.time_s, True, tuple(replace(one, ours=one.parent >= 0) for one in plain.rows))

    assert rank([state(0, 10), state(1, 10_000)]) == ()


def test_the_queues_of_the_sdk_are_not_suspects_but_its_registries_are() -> None:
    """Law: a bounded queue of finished spans is no leak; a meter provider that keeps its meters is."""

    def state(n: int) -> list[Spec]:
        batch = "opentelemetry.sdk._shared_internal:BatchProcessor"
        queue: Spec = ("._processor", batch, 1, 50, [cache(n, label="._queue", each=9000)])
        provider: Spec = (
            "._provider",
            "opentelemetry.sdk:MeterProvider",
            1,
            50,
            [cache(n, label="._meters")],
        )
        return [queue, provider]

    suspects = rank([summary(h, module("otel", *state(n))) for h, n in ((0, 10), (1, 2000))], min_share=0.05)

    assert [one.owner for one in suspects] == ["opentelemetry.sdk:MeterProvider._meters"]


def test_a_chain_is_named_by_what_holds_its_first_link() -> None:
    """Law: the link that holds the growing rest is not the owner; whoever holds the head is."""

    def state(n: int) -> Spec:
        rest: Spec = (".next", "shop:Link", n, n * 64, [])
        second: Spec = (".next", "shop:Link", 1, 64, [rest])
        first: Spec = (".head", "shop:Link", 1, 64, [second])
        return module("shop", (".chain", "shop:Chain", 1, 48, [first]))

    [suspect] = rank([summary(0, state(10)), summary(1, state(10_000))])

    assert (suspect.owner, suspect.type) == ("shop:Chain.head", "shop.Link")


def test_a_chain_whose_links_have_dicts_of_their_own_is_named_alike() -> None:
    """Law: whether attributes live in a dict (up to 3.10) or in the instance, the chain is the same."""

    def state(n: int) -> Spec:
        rest: Spec = (".next", "shop:Link", n, n * 48, [])
        second: Spec = (".next", "shop:Link", 1, 48, [("", "dict", n, n * 104, [rest])])
        first: Spec = (".head", "shop:Link", 1, 48, [("", "dict", 1, 104, [second])])
        return module("shop", (".chain", "shop:Chain", 1, 48, [("", "dict", 1, 104, [first])]))

    [suspect] = rank([summary(0, state(10)), summary(1, state(10_000))])

    assert (suspect.owner, suspect.type) == ("shop:Chain.head", "shop.Link")


def test_a_class_of_the_programs_is_said_to_pile_up_before_the_tuple_that_wraps_it() -> None:
    """Law: of things that grow in equal number the most telling names the growth."""

    def state(n: int) -> Spec:
        pair: Spec = ("[*]", "tuple", n, n * 56, [("[*]", "shop:Order", n, n * 48, [])])
        return module("shop", ("._queue", "list", 1, n * 8, [pair, ("[*]", "str", n, n * 500, [])]))

    [suspect] = rank([summary(0, state(10)), summary(1, state(10_000))])

    assert suspect.type == "shop.Order"


def test_a_named_place_too_small_for_the_first_census_is_the_holder_in_the_second() -> None:
    """Law: a container that was too light to be kept was there; its elements are what is new."""
    before = summary(0, module("shop"))
    after = summary(1, module("shop", cache(5000)))

    [suspect] = rank([before, after])

    assert (suspect.owner, suspect.type) == ("shop:_sessions", "shop.Session")


def test_locals_of_a_running_function_are_named_by_the_function() -> None:
    """Law: what only a running function knows is called after it."""
    frame = "shop.worker:run"
    before, after = (
        summary(h, (frame, FRAME, 1, 0, [cache(n, label=".<locals>.done")])) for h, n in ((0, 1), (1, 1000))
    )

    [suspect] = rank([before, after])

    assert suspect.owner == "shop.worker:run.<locals>.done"


def test_what_no_module_leads_to_is_named_by_class_or_not_at_all() -> None:
    """Law: an owner that is unknown is the empty string, not an invention."""

    def state(n: int) -> Spec:
        client: Spec = ("", "shop:Client", 1, 48, [cache(n, label="._seen")])
        return ("", UNNAMED, 1, 0, [client, ("", "shop:Ticket", n, n * 900, [])])

    suspects = rank([summary(0, state(1)), summary(1, state(1000))])

    assert {(one.owner, one.type) for one in suspects} == {
        ("shop:Client._seen", "shop.Session"),
        ("", "shop.Ticket"),
    }


@pytest.mark.parametrize("times", [(0, 0), (1, 0), (0, 2, 1)])
def test_times_that_do_not_advance_give_no_verdict(times: tuple[float, ...]) -> None:
    """Law: without time there is no rate."""
    assert rank([summary(t, module("shop", cache(10 + 1000 * i))) for i, t in enumerate(times)]) == ()


def test_what_an_earlier_look_did_not_get_to_see_has_not_grown() -> None:
    """Law: a look cut short is no measure for a later one; a later one cut short only shows too little."""
    before, after = (summary(h, module("shop", cache(n))) for h, n in ((0, 1000), (1, 5000)))

    assert rank([replace(before, complete=False), after]) == ()
    assert len(rank([before, replace(after, complete=False)])) == 1


def test_one_census_names_nobody() -> None:
    """Law: size is no guilt, growth is."""
    assert rank([summary(0, module("shop", cache(10_000)))]) == ()


def test_shapes_that_differ_only_in_how_they_are_walked_are_added_up() -> None:
    """Law: one place and type is one line of the account, however many rows it has."""
    rows = (
        row(-1, "", "", 0, 0, 30),
        row(0, "[*]", "dict", 1, 10, 10),
        row(0, "[*]", "dict", 2, 20, 20),
    )

    [shape] = merge([Summary(0.0, True, rows)]).children.values()

    assert (shape.counts, shape.own_bytes, shape.subtree_bytes) == ([3], [30], [30])


LABELS = st.sampled_from(["", "[*]", ".a", ".b", ".<locals>.c"])
TYPES = st.sampled_from(["dict", "list", "tuple", "shop:A", "shop:B", "functools:partial", "(other)", "str"])
SIZES = st.integers(0, 10**7)
SPECS = st.recursive(
    st.tuples(LABELS, TYPES, st.integers(0, 10**5), SIZES, st.just([])),
    lambda inner: st.tuples(LABELS, TYPES, st.integers(0, 10**5), SIZES, st.lists(inner, max_size=4)),
    max_leaves=30,
)


@given(
    st.lists(st.lists(SPECS, max_size=4), min_size=2, max_size=3),
    st.one_of(st.none(), st.floats(0, 1e12, allow_nan=False)),
)
def test_whatever_is_compared_the_answer_is_an_answer(states: list[list[Spec]], growth: float | None) -> None:
    """Law: any two trees give at most five suspects that grow, with shares of one whole, worst first."""
    summaries = [summary(hour, module("shop", *state)) for hour, state in enumerate(states)]

    suspects = rank(summaries, growth)

    assert len(suspects) <= 5
    assert all(0.12 <= one.share <= 1 and one.growth_bytes_per_hour > 0 for one in suspects)
    assert all(one.owner or one.type for one in suspects)
    rates = [one.growth_bytes_per_hour for one in suspects]
    assert rates == sorted(rates, reverse=True)
    assert len({one.owner for one in suspects}) == len(suspects)


@given(st.lists(SPECS, max_size=4))
def test_what_does_not_change_is_nobodys_growth(state: list[Spec]) -> None:
    """Law: the same heap twice has no suspects."""
    assert rank([summary(hour, module("shop", *state)) for hour in (0, 1)], 1000.0) == ()
