"""Which lines grow in every window, and which are nobody's business."""

from __future__ import annotations

import os
import tracemalloc

import pytest

import otel_memleak
from otel_memleak.diagnosis._places import short_path
from otel_memleak.diagnosis._ranking import SiteRanking, is_machinery
from otel_memleak.diagnosis._tracing import Live, Site

A = Site("/srv/shop/a.py", 1)


def _sites(**sizes: int) -> dict[Site, Live]:
    return {Site(f"/srv/shop/{name}.py", 1): Live(size, size // 10) for name, size in sizes.items()}


def test_a_line_that_grows_in_one_window_only_is_not_named() -> None:
    """A cache that filled, a batch that ran: growth that does not repeat convicts nobody."""
    ranking = SiteRanking()
    ranking.add(_sites(), _sites(a=1000, b=9000), 1.0)
    ranking.add(_sites(), _sites(a=1000), 1.0)

    assert [suspect.site for suspect in ranking.suspects()] == ["srv/shop/a.py:1"]


def test_the_slowest_window_counts() -> None:
    """Work in progress adds to a line in some window; its least growth is what it cannot do without."""
    ranking = SiteRanking()
    ranking.add(_sites(), _sites(a=1000, b=1500), 1.0)
    ranking.add(_sites(), _sites(a=8000, b=1500), 1.0)

    assert [suspect.site for suspect in ranking.suspects()] == ["srv/shop/b.py:1", "srv/shop/a.py:1"]
    assert ranking.suspects()[1].growth_bytes_per_hour == 3_600_000


def test_a_line_below_a_twentieth_of_the_growth_is_not_named() -> None:
    """A suspect that does not account for the growth is no suspect: unknown is an answer."""
    ranking = SiteRanking()
    ranking.add(_sites(), _sites(a=1000), 1.0)

    assert ranking.suspects(growth_bytes_per_hour=100_000_000) == []
    assert len(ranking.suspects(growth_bytes_per_hour=10_000_000)) == 1


def test_at_most_five_are_named_worst_first() -> None:
    """A list of forty lines helps nobody."""
    ranking = SiteRanking()
    ranking.add(_sites(), {Site("/srv/x.py", line): Live(1000 + line, 1) for line in range(8)}, 1.0)

    assert [suspect.site for suspect in ranking.suspects()] == [
        f"srv/x.py:{line}" for line in (7, 6, 5, 4, 3)
    ]


def test_before_the_first_window_nothing_is_known() -> None:
    """No claim without a look."""
    ranking = SiteRanking()

    assert ranking.suspects() == []
    assert ranking.suspects(1e6) == []
    assert ranking.traced_bytes_per_hour() is None


def test_a_window_keeps_a_bounded_number_of_lines() -> None:
    """A program with 100,000 allocating lines must not make the diagnosis grow."""
    ranking = SiteRanking()
    ranking.add({}, {Site("/srv/x.py", line): Live(1000, 1) for line in range(10_000)}, 1.0)

    assert ranking.traced_bytes_per_hour() == 64 * 3_600_000


def test_machinery_is_never_a_suspect() -> None:
    """Our own tables grow while we look; they must not push the application's line aside."""
    ranking = SiteRanking()
    ranking.add({}, {Site(tracemalloc.__file__, 1): Live(9000, 1), A: Live(1000, 1)}, 1.0)

    assert [suspect.site for suspect in ranking.suspects()] == ["srv/shop/a.py:1"]


def test_no_time_between_looks_gives_no_rate() -> None:
    """A clock that stood still must not divide by zero."""
    ranking = SiteRanking()
    ranking.add({}, _sites(a=1000), 0.0)

    assert ranking.windows == 0


@pytest.mark.parametrize(
    ("filename", "hidden"),
    [
        (os.path.join(os.path.dirname(otel_memleak.__file__), "engine.py"), True),
        (tracemalloc.__file__, True),
        ("<frozen importlib._bootstrap_external>", True),
        ("<frozen abc>", True),
        ("/venv/lib/python3.11/site-packages/opentelemetry/sdk/trace/__init__.py", True),
        ("/venv/lib/python3.11/site-packages/opentelemetry/exporter/otlp/proto/http/__init__.py", True),
        ("/venv/lib/python3.11/site-packages/opentelemetry/metrics/_internal/__init__.py", False),
        ("/venv/lib/python3.11/site-packages/opentelemetry/instrumentation/flask/__init__.py", False),
        ("/srv/shop/sdk/trace.py", False),
        ("<string>", False),
    ],
)
def test_machinery_is_told_from_the_application(filename: str, hidden: bool) -> None:
    """What queues for the exporter grows in any window; what instrumentations leak is a finding."""
    assert is_machinery(filename) is hidden


@pytest.mark.parametrize(
    ("filename", "short"),
    [
        ("/srv/app/shop/views.py", "shop/views.py"),
        ("/srv/app/lib/shop/views.py", "shop/views.py"),
        ("/opt/venv/lib/python3.11/site-packages/aiohttp/web_app.py", "site-packages/aiohttp/web_app.py"),
        ("/x.py", "x.py"),
        ("<string>", "<string>"),
        ("", ""),
    ],
)
def test_a_place_is_named_without_where_it_is_installed(filename: str, short: str) -> None:
    """The deepest import root goes, wherever it is listed; where there is none, three parts are enough."""
    roots = ["", "/srv/app", "/srv/app/lib/"]

    assert short_path(filename, roots) == short_path(filename, roots[::-1]) == short
