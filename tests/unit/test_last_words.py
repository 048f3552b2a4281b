"""When last words are due, when they have to be ready, and how often to look until then."""

from __future__ import annotations

from otel_memleak.last_words import Approach, opening
from otel_memleak.types import MB

LIMIT_BYTES = 1000 * MB


def test_they_are_due_once_at_the_mark_and_again_only_after_it_was_left() -> None:
    """Hovering at the mark is one occasion; coming back from below 90 % is another."""
    approach = Approach(60.0)
    levels = [900, 949, 951, 948, 960, 999, 940, 951, 899, 951]

    due = [approach.look(60.0 * i, level * MB, LIMIT_BYTES) for i, level in enumerate(levels)]

    assert [level for level, is_due in zip(levels, due, strict=True) if is_due] == [951, 951]
    assert [i for i, is_due in enumerate(due) if is_due] == [2, 9]


def test_without_a_limit_there_is_no_mark() -> None:
    """And no reason to look more often."""
    approach = Approach(60.0)

    assert not any(approach.look(float(i), 1 << (20 + i), None) for i in range(20))
    assert not approach.near(1 << 40, None)
    assert approach.pause_s == 60.0


def test_a_leak_of_any_pace_is_seen_between_the_mark_and_the_limit() -> None:
    """The last five per cent may last for two seconds, with a minute between samples."""
    for mb_per_s in (0.01, 0.1, 1.0, 10.0, 25.0):
        approach, now_s, looks = Approach(60.0), 0.0, 0
        while not approach.look(now_s, 100 * MB + mb_per_s * MB * now_s, LIMIT_BYTES):
            now_s += approach.pause_s
            looks += 1
            assert 100 + mb_per_s * now_s < 1000, "killed before its last words"
        assert looks <= 850 / mb_per_s / 60.0 + 40


def test_a_process_that_does_not_grow_is_not_looked_at_more_often() -> None:
    """Not at 94 % either: a minute stays a minute, and so it does when memory falls."""
    approach = Approach(60.0)
    approach.look(0.0, 940 * MB, LIMIT_BYTES)
    for index, level in enumerate((940, 940, 930, 930)):
        approach.look(1.0 + 60.0 * index, level * MB, LIMIT_BYTES)
        assert approach.pause_s == 60.0


def test_looking_has_a_shortest_pause() -> None:
    """A jump to just below the mark must not become a busy loop."""
    for interval_s, shortest_s in ((60.0, 1.0), (0.25, 0.1), (0.05, 0.05)):
        approach = Approach(interval_s)
        approach.look(0.0, 100 * MB, LIMIT_BYTES)
        approach.look(interval_s, 949.9 * MB, LIMIT_BYTES)
        assert approach.pause_s == shortest_s


def test_they_are_prepared_near_the_mark_or_shortly_before_it() -> None:
    """At 85 %, or anywhere when a few samples are left."""
    approach = Approach(60.0)
    approach.look(0.0, 100 * MB, LIMIT_BYTES)
    approach.look(60.0, 101 * MB, LIMIT_BYTES)
    assert not approach.near(101 * MB, LIMIT_BYTES)  # fifty thousand seconds away
    assert approach.near(850 * MB, LIMIT_BYTES)

    approach.look(120.0, 400 * MB, LIMIT_BYTES)
    assert approach.near(400 * MB, LIMIT_BYTES)


def test_a_clock_that_stands_still_is_survived() -> None:
    """Two readings at one moment have no pace."""
    approach = Approach(60.0)
    approach.look(1.0, 100 * MB, LIMIT_BYTES)
    approach.look(1.0, 500 * MB, LIMIT_BYTES)
    approach.look(0.5, 600 * MB, LIMIT_BYTES)

    assert approach.pause_s == 60.0


def test_the_sentence_opens_with_the_figures_that_matter() -> None:
    """How much, of what; rounded down, because 100 % would be a lie."""
    assert opening(487 * MB, 512 * MB) == "RSS is 487 MB, 95 % of the limit of 512 MB"
    assert opening(999.9 * MB, 1000 * MB).startswith("RSS is 1,000 MB, 99 %")
