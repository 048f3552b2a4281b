"""``otel-memleak replay --plot``: a picture that shows what was found, whatever the series."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_memleak.cli import main
from otel_memleak.cli._panel import Panel
from otel_memleak.cli._thinning import ThinnedSeries
from otel_memleak.detector import LeakDetector
from otel_memleak.types import MB, LeakAlert

UNIX_S = 1_750_000_000
Rows = list[tuple[float, float]]


@pytest.fixture
def _matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")


needs_matplotlib = pytest.mark.usefixtures("_matplotlib")


def leaky(start_s: float = UNIX_S, samples: int = 2000, onset: int = 200) -> Rows:
    """100 MB, and 4 MB/h more from the onset on."""
    return [(start_s + 60 * n, (100 + max(0, n - onset) / 15) * MB) for n in range(samples)]


def write_csv(path: Path, rows: Rows) -> str:
    path.write_text("time_s,rss_bytes\n" + "".join(f"{t},{rss:.0f}\n" for t, rss in rows), encoding="utf-8")
    return str(path)


def texts(path: Path) -> list[str]:
    """What is written in an SVG, which must be well-formed."""
    return [
        "".join(element.itertext())
        for element in ElementTree.parse(path).iter()
        if element.tag.endswith("}text")
    ]


def replayed(rows: Rows, limit_bytes: float | None = 512 * MB) -> Panel:
    """A panel as the command makes it."""
    detector = LeakDetector(limit_bytes)
    panel = Panel("rows")
    for time_s, rss_bytes in panel.watch(iter(rows)):
        alert = detector.update(time_s, rss_bytes)
        if alert is not None:
            panel.alerts.append(alert)
    panel.finish(detector)
    return panel


@needs_matplotlib
@pytest.mark.parametrize("start_s", [UNIX_S, 0])
def test_the_picture_names_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], start_s: float
) -> None:
    """Verdict, onset, baseline, limit, alert and forecast can be read in it, in MB and in time."""
    picture = tmp_path / "leak.svg"
    source = write_csv(tmp_path / "shop.csv", leaky(start_s))
    status = main(["replay", source, "--limit-mb", "300", "--plot", str(picture)])

    found = texts(picture)
    assert status == 1
    assert capsys.readouterr().err == ""
    assert any(text.startswith("RSS grew 4") and "300 MB limit" in text for text in found)
    assert {"onset", "baseline 100 MB", "limit 300 MB", "leak, warning", "resident memory, MB"} <= set(found)
    assert any(text.startswith("300 MB reached in ") and "95 %" in text for text in found)
    assert any(text == "shop.csv · 2,000 samples in 33.3 h" for text in found)
    assert ("UTC" if start_s else "days since the first sample") in found


@needs_matplotlib
def test_a_png_is_a_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ending says the format, in either case, and what is printed is the same as without a picture."""
    source = write_csv(tmp_path / "shop.csv", leaky())
    main(["replay", source])
    without = json.loads(capsys.readouterr().out)
    picture = tmp_path / "leak.PNG"
    status = main(["replay", source, "--plot", str(picture)])
    with_picture = json.loads(capsys.readouterr().out)

    assert status == 1
    assert {**with_picture, "id": without["id"]} == without
    header = picture.read_bytes()[:24]
    assert header.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(header[16:20], "big") > 1200, "pixels across"


@needs_matplotlib
def test_the_same_series_is_the_same_picture(tmp_path: Path) -> None:
    """A picture kept under version control changes when its series does, and not with the date."""
    source = write_csv(tmp_path / "flat.csv", [(t, 100 * MB) for t, _ in leaky()])
    for name in ("one.svg", "two.svg"):
        assert main(["replay", source, "--plot", str(tmp_path / name)]) == 0

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "No leak found" in texts(tmp_path / "one.svg")


@needs_matplotlib
@pytest.mark.parametrize(
    "rows",
    [
        [(5.0, MB)],
        [(5.0, MB), (5.0, 2 * MB), (4.0, MB)],
        [(0.0, MB), (1e11, 2 * MB), (2e11, MB)],
        [(-1e11, MB), (1e11, 1e18)],
        [(float(n), MB if n % 500 else 1e15) for n in range(3000)],
        [(n * 60.0 + (1e6 if n > 50 else 0), 100 * MB + n) for n in range(100)],
        [(253402300800.0 + n, MB) for n in range(50)],
    ],
    ids=["one", "backwards", "ages", "extremes", "spikes", "gap", "year 10000"],
)
def test_any_series_can_be_drawn(tmp_path: Path, rows: Rows) -> None:
    """One sample, no time, thousands of years, an exabyte: a picture, and no exception."""
    picture = tmp_path / "any.svg"
    source = write_csv(tmp_path / "any.csv", rows)

    assert main(["replay", source, "--limit-mb", "64", "--plot", str(picture)]) in (0, 1)
    assert texts(picture)


@needs_matplotlib
def test_without_a_sample_to_draw_there_is_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Readings that all failed are said to be no picture; the verdict stands."""
    source = write_csv(tmp_path / "nan.csv", [(float(n), math.nan) for n in range(50)])

    assert main(["replay", source, "--plot", str(tmp_path / "no.svg")]) == 0
    assert "no.svg is not written: no sample can be drawn" in capsys.readouterr().err
    assert not (tmp_path / "no.svg").exists()


@needs_matplotlib
def test_several_series_are_several_panels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The leaking come first, more than six are told of, and labels are text, never markup or formulas."""
    names = ["a $x_{$", "<b>&\"'", "日本", "d", "e", "f", "g", "leaks"]
    result = [
        {
            "metric": {"__name__": "rss", "instance": name},
            "values": [[t, str(rss if name == "leaks" else 50 * MB)] for t, rss in leaky()],
        }
        for name in names
    ]
    source = tmp_path / "answer.json"
    source.write_text(json.dumps({"data": {"resultType": "matrix", "result": result}}), encoding="utf-8")
    picture = tmp_path / "all.svg"

    assert main(["replay", str(source), "--plot", str(picture)]) == 1
    assert "all.svg leaves out 2 of 8 series" in capsys.readouterr().err
    titles = [text for text in texts(picture) if text.startswith("rss{")]
    assert len(titles) == 6
    assert titles[0].startswith('rss{instance="leaks"}')
    assert titles[1].startswith('rss{instance="a $x_{$"}')
    assert titles[2].startswith('rss{instance="<b>&\\"\'"}')


def test_without_the_extra_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with the command to type, before a long file is read for nothing."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert main(["replay", "no-such-file.csv", "--plot", "x.svg"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("otel-memleak replay: --plot needs matplotlib")
    assert "pip install 'otel-memleak[plot]'" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("name", ["picture", "picture.pdf", "svg", ".svg"])
def test_an_unknown_format_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The ending must say what to write."""
    with pytest.raises(SystemExit) as exit_info:
        main(["replay", "-", "--plot", name])

    assert exit_info.value.code == 2
    assert f"must end in .svg or .png, not {name!r}" in capsys.readouterr().err


@needs_matplotlib
def test_a_picture_that_cannot_be_written_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not there is found before reading, one that is no file after it."""
    source = write_csv(tmp_path / "flat.csv", [(t, 100 * MB) for t, _ in leaky()])
    (tmp_path / "folder.svg").mkdir()

    assert main(["replay", source, "--plot", str(tmp_path / "no" / "x.svg")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["replay", source, "--plot", str(tmp_path / "folder.svg")]) == 2
    assert "folder.svg: Is a directory" in capsys.readouterr().err


def test_matplotlib_is_not_imported_without_being_asked_for(tmp_path: Path) -> None:
    """Half a second and forty megabytes are for those who want a picture."""
    source = write_csv(tmp_path / "flat.csv", leaky())
    code = (
        "import sys; from otel_memleak.cli import main; main(['replay', sys.argv[1]]);"
        "sys.exit('matplotlib' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code, source], capture_output=True).returncode == 0


def test_trend_and_forecast_are_where_the_truth_is() -> None:
    """The line begins at the onset on the series' level, rises at its rate, and meets the limit when it will."""
    panel = replayed(leaky())
    (trend,) = panel.trends()
    forecast = panel.forecast()

    truth = dict(leaky())
    assert trend.onset_s == pytest.approx(UNIX_S + 200 * 60, abs=3600)
    for time_s in (UNIX_S + 60 * 600, UNIX_S + 60 * 1900):
        assert trend.at(time_s) == pytest.approx(truth[time_s], abs=3 * MB)
    assert forecast is not None
    assert forecast.reached_s == pytest.approx(UNIX_S + 60 * (200 + 412 * 15), rel=0.05, abs=7200)
    assert forecast.earliest_s <= forecast.reached_s <= forecast.latest_s


def test_without_a_limit_or_a_leak_nothing_is_foretold() -> None:
    """A forecast needs both, and an innocent series has no trend line."""
    assert replayed(leaky(), None).forecast() is None
    innocent = replayed([(t, 100 * MB) for t, _ in leaky()])
    assert (innocent.forecast(), innocent.trends(), innocent.leaks) == (None, [], False)
    assert innocent.headline == "No leak found"


def test_a_leak_that_has_ended_is_drawn_to_its_end() -> None:
    """What was found stays in the picture, and stops where the detector said so."""
    panel = replayed(leaky())
    leak = next(alert for alert in panel.alerts if alert.event == "memleak.leak")
    ended = Panel("ended")
    ended.series = panel.series
    ended.alerts = [leak, replace(leak, event="memleak.resolved", time_s=leak.time_s + 3600)]

    (trend,) = ended.trends()
    assert trend.end_s == leak.time_s + 3600
    assert ended.forecast() is None
    assert ended.headline.endswith("), but does no longer")


def test_memory_over_a_threshold_is_the_headline_where_there_is_no_leak() -> None:
    """The title is what there is to say."""
    panel = Panel("high")
    panel.alerts = [LeakAlert("memleak.rss", "x", "critical", "rss", 1.0, 95 * MB, limit_bytes=100 * MB)]

    assert panel.headline == "RSS is 95.0 MB; 95 % of the 100 MB limit"


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6, allow_nan=False), st.floats(1, 1e12)), max_size=300
    ).map(lambda rows: [(n + time_s / 1e7, rss) for n, (time_s, rss) in enumerate(rows)]),
    st.integers(1, 60),
)  # fmt: skip
def test_thinning_keeps_extremes_mean_and_order(rows: Rows, times: int) -> None:
    """However long the series: nothing is lost of its range and sum, and what is kept is little."""
    series = ThinnedSeries()
    longer = [(n * 1000 + time_s, rss) for n in range(times) for time_s, rss in rows]
    for row in longer:
        series.add(*row)
    kept = series.stretches

    assert series.samples == len(longer) == sum(one.samples for one in kept)
    assert len(kept) == len(longer) if len(longer) <= 2048 else 1024 <= len(kept) <= 2048
    if longer:
        assert min(one.least_bytes for one in kept) == min(rss for _, rss in longer)
        assert max(one.most_bytes for one in kept) == max(rss for _, rss in longer)
        assert math.fsum(one.sum_bytes for one in kept) == pytest.approx(math.fsum(rss for _, rss in longer))
    bounds = [edge for one in kept for edge in (one.first_s, one.last_s)]
    assert bounds == sorted(bounds)
    assert [one for piece in series.pieces() for one in piece] == kept


def test_a_spike_in_a_long_series_stays_in_sight() -> None:
    """A million samples are drawn as two thousand stretches, and the one that went up or down is not lost."""
    series = ThinnedSeries()
    for n in range(20_000):
        series.add(n, {7_777: 900.0, 13_333: 1.0}.get(n, 100.0))

    assert 1024 <= len(series.stretches) <= 2048
    assert [one.most_bytes for one in series.stretches if one.most_bytes != 100] == [900]
    assert [one.least_bytes for one in series.stretches if one.least_bytes != 100] == [1]


def test_what_is_no_sample_is_not_drawn() -> None:
    """Failed readings and samples out of order would be spikes to nowhere."""
    series = ThinnedSeries()
    rows: list[Any] = [
        (1, 5),
        (2, math.nan),
        (math.nan, 5),
        (3, -1),
        (2.5, 6),
        (2.4, 7),
        (3, math.inf),
        (4, 8),
    ]
    for row in rows:
        series.add(*row)

    assert [(one.first_s, one.mean_bytes) for one in series.stretches] == [(1, 5), (2.5, 6), (4, 8)]


def test_a_gap_breaks_the_line() -> None:
    """Where nothing was measured nothing is drawn."""
    series = ThinnedSeries()
    for n in range(100):
        series.add(n + (1000 if n >= 40 else 0), 1)

    assert [len(piece) for piece in series.pieces()] == [40, 60]
