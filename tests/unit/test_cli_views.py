"""From received telemetry to what a person sees: picture, words, screen and page."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from otel_memleak.cli import _text
from otel_memleak.cli._demo import HEALTHY, LEAKY, judge
from otel_memleak.cli._html import page
from otel_memleak.cli._picture import Event, Picture, pictures
from otel_memleak.cli._telemetry import LogRecord, MetricPoint, Process, Scope, Span, SpanEvent
from otel_memleak.cli._views import Lines, PlainView, can_be_live
from otel_memleak.cli.receiver import OtlpReceiver
from otel_memleak.types import MB

SHOP = Process("i-1", 41, "shop")
NS = 1_000_000_000
ATTRIBUTES = {
    "memleak.alert.id": "id-1",
    "memleak.alert.severity": "warning",
    "memleak.growth.rate.low": 11.0 * MB,
    "memleak.growth.rate.high": 13.0 * MB,
    "memleak.process.baseline": 100.0 * MB,
}


def point(name: str, value: float, time_s: float, **attributes: str) -> MetricPoint:
    named = {key.replace("_", "."): text for key, text in attributes.items()}
    return MetricPoint(SHOP, Scope(), name, "", "gauge", named, int(time_s * NS), value)


def leak_record(process: Process = SHOP, event: str = "memleak.leak", time_s: float = 30) -> LogRecord:
    return LogRecord(process, Scope(), event, 13, "", "RSS grew <fast>", ATTRIBUTES, int(time_s * NS), 0)


def span(name: str, alert_id: str, process: Process = SHOP) -> Span:
    event = SpanEvent("memleak.leak", 0, {"memleak.alert.id": alert_id})
    return Span(process, Scope(), name, "server", "1", "2", "", 0, 1, "unset", "", {}, (event,))


def picture_of(
    *points: MetricPoint, logs: tuple[LogRecord, ...] = (), spans: tuple[Span, ...] = ()
) -> Picture:
    receiver = OtlpReceiver(())
    for one in points:
        receiver._store.add(metrics=[one])
    receiver._store.add(logs=logs, spans=spans)
    (picture,) = pictures(receiver)
    return picture


def leaking(process: Process = SHOP) -> Picture:
    event = Event(leak_record(process), alert_spans=1, application_spans=("GET /",))
    rss = tuple((float(second), (100 + second) * MB) for second in range(60))
    return Picture(process, rss, "leaking", 512 * MB, "cgroup", 12 * MB, 11_160, (event,))


def test_the_picture_is_what_was_exported_last() -> None:
    """Every figure of the view is the newest the process itself exported."""
    picture = picture_of(
        point("memleak.process.rss", 100 * MB, 1),
        point("memleak.state", 1, 1, memleak_state="stable"),
        point("memleak.state", 0, 1, memleak_state="leaking"),
        point("memleak.process.limit", 9 * MB, 1, memleak_limit_source="host"),
        point("memleak.process.rss", 120 * MB, 2),
        point("memleak.state", 0, 2, memleak_state="stable"),
        point("memleak.state", 1, 2, memleak_state="leaking"),
        point("memleak.process.limit", 512 * MB, 2, memleak_limit_source="cgroup"),
        point("memleak.growth.rate", 12 * MB, 2),
        point("memleak.time_to_limit", 60, 2),
    )

    assert picture.rss == ((1.0, 100 * MB), (2.0, 120 * MB))
    assert (picture.state, picture.limit_bytes, picture.limit_source) == ("leaking", 512 * MB, "cgroup")
    assert (picture.growth_bytes_per_hour, picture.time_to_limit_s) == (12 * MB, 60)
    assert picture.name == "shop (pid 41)"


def test_a_gauge_that_fell_silent_is_not_shown() -> None:
    """Once memory no longer grows there is no time to the limit, however often there was one before."""
    picture = picture_of(
        point("memleak.process.rss", 1, 1),
        point("memleak.time_to_limit", 60, 1),
        point("memleak.process.rss", 1, 2),
    )

    assert picture.time_to_limit_s is None


def test_an_event_is_joined_with_its_spans_by_id() -> None:
    """Only spans that carry the same alert id count as that alert's, and the two kinds are told apart."""
    picture = picture_of(
        logs=(leak_record(),),
        spans=(span("memleak.leak", "id-1"), span("GET /", "id-1"), span("GET /other", "id-2")),
    )
    (event,) = picture.events

    assert (event.alert_spans, event.application_spans, event.on_spans) == (1, ("GET /",), True)
    assert (event.alert_id, event.severity, event.body) == ("id-1", "warning", "RSS grew <fast>")
    assert picture.growth_interval == (11 * MB, 13 * MB)
    assert picture.baseline_bytes == 100 * MB


def test_processes_do_not_mix() -> None:
    """What one worker reports is never shown as another's."""
    receiver = OtlpReceiver(())
    other = Process("i-2", 42, "shop")
    receiver._store.add(metrics=[point("memleak.process.rss", 1, 1)], logs=[leak_record(other)])

    assert [(p.process, bool(p.rss), bool(p.leaks)) for p in pictures(receiver)] == [
        (SHOP, True, False),
        (other, False, True),
    ]


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 8, ""),
        ([5.0 * MB], 8, "▁"),
        ([0, 8 * MB], 8, "▁█"),
        ([n * MB for n in range(8)], 8, "▁▂▃▄▅▆▇█"),
        ([n * MB for n in range(16)], 4, "▁▃▆█"),
        ([10 * MB, 10 * MB + 1, 10 * MB], 8, "▁▁▁"),
    ],
)
def test_sparkline(values: list[float], width: int, bars: str) -> None:
    """The curve rises with the values, fits its width, and does not blow noise up to a mountain."""
    assert _text.sparkline(values, width) == bars


def test_a_taller_curve_shows_finer_steps() -> None:
    """With more rows the same values keep their order and fill every row from the bottom."""
    rows = _text.curve([n * MB for n in range(16)], 16, 2)

    assert rows == ["        ▁▂▃▄▅▆▇█", "▁▂▃▄▅▆▇█████████"]
    assert _text.curve([], 10, 3) == []


def test_a_process_in_one_line() -> None:
    """A line holds state, memory with limit, rate with interval and the time that is left."""
    line = _text.process_line(leaking())

    assert "shop (pid 41): leaking, RSS 159 MB of 512 MB (cgroup)" in line
    assert "growth 12.0 MB/h (95 % at the alert: 11.0–13.0)" in line
    assert line.endswith("time to limit 3.1 h")


def test_the_summary_shows_the_alert_as_it_arrived() -> None:
    """Body, event name, id, and which signals brought it."""
    text = "\n".join(_text.summary([leaking()]))

    assert "warning memleak.leak: RSS grew <fast>" in text
    assert "id id-1, received as log record, span event on its own root span" in text
    assert "span event on 1 of the application's spans (GET /)" in text


def test_verdicts() -> None:
    """The last line names who leaks; without a leak it says for how long nobody was seen to."""
    quiet = Picture(SHOP, ((0.0, 1.0), (120.0, 1.0)))

    assert _text.verdict([quiet, leaking()]) == "LEAK: shop (pid 41)"
    assert _text.verdict([quiet]) == "no leak seen in 2 min (1 process)"
    assert _text.verdict([quiet, quiet]) == "no leak seen in 2 min (2 processes)"


def test_plain_lines_are_few() -> None:
    """A line per process now and then, when the state changes, and every event once: no more."""
    out = io.StringIO()
    now_s = iter([0.0, 1.0, 9.9, 10.0, 11.0, 12.0])
    view = PlainView(Lines(out, "> "), every_s=10, clock=lambda: next(now_s))
    quiet = Picture(SHOP, ((0.0, 1.0 * MB),), "stable")

    told = []
    for picture in [quiet, quiet, quiet, quiet, leaking(), leaking()]:
        before = len(out.getvalue())
        view.update([picture])
        told.append(out.getvalue()[before:].count("\n"))

    assert told == [1, 0, 0, 1, 2, 0]
    assert all(line.startswith("> ") for line in out.getvalue().splitlines())


def test_lines_survive_a_narrow_encoding_and_a_closed_stream() -> None:
    """A terminal that cannot show a bar gets "?", and a stream nobody reads any more is no failure."""
    raw = io.BytesIO()
    ascii_stream = io.TextIOWrapper(raw, encoding="ascii")
    lines = Lines(ascii_stream)
    lines.print("▁ 95 %")
    shown = raw.getvalue()
    ascii_stream.close()
    lines.print("nobody listens")

    assert shown == b"? 95 %\n"


def test_no_live_screen_without_a_terminal(tmp_path: Path) -> None:
    """A file or a pipe never gets cursor movements."""
    with (tmp_path / "out").open("w") as stream:
        assert not can_be_live(stream)


def test_the_live_screen_shows_the_same() -> None:
    """The screen says what the lines say, whoever leaks first."""
    console = pytest.importorskip("rich.console")
    from otel_memleak.cli._live import LiveView

    stream = io.StringIO()
    view = LiveView(stream, "the title")
    quiet = Picture(Process("i-2", 42, "quiet"), ((0.0, 1.0 * MB),), "stable")
    rendered = view.render([quiet, leaking()])
    view.close()
    target = console.Console(file=io.StringIO(), width=120)
    target.print(rendered)
    text = target.file.getvalue()

    assert text.index("shop (pid 41)") < text.index("quiet (pid 42)")
    for part in ("the title", "leaking", "159 MB of 512 MB (cgroup)", "3.1 h", "RSS grew <fast>", "id-1"):
        assert part in text


def test_the_page_draws_curve_baseline_limit_and_alerts() -> None:
    """A report shows everything there is to a process, inside the chart, with foreign text escaped."""
    html = page("app <x>", [leaking()])

    assert "app &lt;x&gt;" in html
    assert "<td>RSS grew &lt;fast&gt;</td>" in html
    assert "<fast>" not in html
    assert 'class="baseline"' in html
    assert "limit 512 MB (above this chart)" in html
    assert 'class="alert"' in html
    points = html.partition('points="')[2].partition('"')[0].split()
    assert len(points) == 60
    assert all(74 <= float(p.split(",")[0]) <= 848 and 12 <= float(p.split(",")[1]) <= 214 for p in points)
    assert [float(p.split(",")[1]) for p in points] == sorted(
        (float(p.split(",")[1]) for p in points), reverse=True
    )


@pytest.mark.parametrize(
    "picture", [Picture(SHOP), Picture(SHOP, ((5.0, 7.0),)), Picture(SHOP, events=(Event(leak_record()),))]
)
def test_the_page_copes_with_little(picture: Picture) -> None:
    """No sample, one sample, an event without samples: still a page."""
    assert page("t", [picture]).endswith("</html>\n")


def test_the_demo_succeeds_only_when_everything_holds() -> None:
    """Leak by log and span, twin quiet: success. Twin accused, no span: failure. Less: not over."""
    shop, twin = Process("a", 1, LEAKY), Process("b", 2, HEALTHY)
    quiet = Picture(twin, ((0.0, 1.0),), "stable")
    by_log_only = Picture(shop, events=(Event(leak_record(shop)),))

    assert judge([], 100) is None
    assert judge([Picture(shop), quiet], 100) is None
    assert judge([leaking(shop), quiet], 0.1) is None
    assert judge([leaking(shop)], 100) is None
    assert judge([by_log_only, quiet], 10) is None, "its spans may be on their way"
    success = judge([leaking(shop), quiet], 100)
    assert success is not None
    assert success.success
    for found, says in [
        ([by_log_only, quiet], "on no span"),
        ([leaking(shop), leaking(twin)], "FALSE ALARM"),
        ([leaking(twin)], "FALSE ALARM"),
    ]:
        outcome = judge(found, 100)
        assert outcome is not None
        assert not outcome.success
        assert says in outcome.sentence
