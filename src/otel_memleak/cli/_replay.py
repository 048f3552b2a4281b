"""``otel-memleak replay``: run the detector over a recorded series.

FILE holds CSV (a header with the columns time_s and rss_bytes; others are ignored, in any order), JSON lines
(objects with those keys), or what Prometheus answers to a range query (JSON, resultType matrix; its series
are replayed one after the other); "-" is standard input. time_s is in seconds on any clock, rss_bytes in
bytes, "nan" where a reading is missing. Each alert is printed as one JSON object; with several series it has
the labels of its series in the field "series".

Exit status: 1 a leak was found, 0 none was, 2 the input cannot be used.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from otel_memleak.cli._arguments import positive_number
from otel_memleak.cli._plot import Plot, PlotError, picture_file
from otel_memleak.cli._prometheus import read_series
from otel_memleak.cli._series_file import InputError, Row, Series
from otel_memleak.types import MB, LeakAlert

if TYPE_CHECKING:
    from otel_memleak.detector import LeakDetector

_ROWS_TO_INFER_FROM: Final = 200
_DEFAULT_INTERVAL_S: Final = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``replay``."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help='CSV or JSON lines with time_s and rss_bytes, or Prometheus JSON; "-": stdin',
    )
    parser.add_argument("--limit-mb", type=positive_number, metavar="MB", help="memory limit of the process")
    parser.add_argument(
        "--sampling-interval",
        type=positive_number,
        metavar="SECONDS",
        help="spacing of the samples (default: median spacing of the first rows)",
    )
    parser.add_argument(
        "--baseline-window",
        type=positive_number,
        metavar="SECONDS",
        help="span of the samples that make the baseline (default: 5 sampling intervals, at least 300 s)",
    )
    parser.add_argument(
        "--patience",
        type=positive_number,
        metavar="SECONDS",
        help="how long growth is watched before it is called a leak (default: by the time left to the limit)",
    )
    parser.add_argument(
        "--plot",
        type=picture_file,
        metavar="FILE.svg|png",
        help="also draw the series with what was found (needs the extra: plot)",
    )


def run(options: argparse.Namespace) -> int:
    """Replays a file and prints its alerts.

    Returns:
        1 a leak was found, 0 none was, 2 the input cannot be used.
    """
    try:
        plot = Plot(options.plot) if options.plot else None
        if options.file == "-":
            return _replay_all(sys.stdin.buffer, "standard input", options, plot)
        with open(options.file, "rb") as stream:
            return _replay_all(stream, options.file, options, plot)
    except OSError as error:
        return _refuse(f"{options.file}: {error.strerror or error}")
    except (InputError, PlotError) as error:
        return _refuse(str(error))


def _replay_all(stream: BinaryIO, name: str, options: argparse.Namespace, plot: Plot | None) -> int:
    found_leak = False
    all_series = read_series(stream, name)
    printer = _Printer()
    for series in all_series:
        printer.labels = series.labels if len(all_series) > 1 else {}
        found_leak = _replay(series, name, options, printer, plot) or found_leak
        for remark in series.remarks():
            _say(remark)
        if printer.nobody_reads:
            break
    if plot is not None:
        for remark in plot.draw():
            _say(remark)
    return int(found_leak)


def _replay(
    series: Series, name: str, options: argparse.Namespace, printer: _Printer, plot: Plot | None
) -> bool:
    rows = iter(series)
    head = list(islice(rows, _ROWS_TO_INFER_FROM))
    detector = _detector(options, head)
    both = chain(head, rows)
    if plot is None:
        return _feed(detector, both, printer)
    panel = plot.add_panel(series.labels, name)
    found_leak = _feed(detector, panel.watch(both), printer, panel.alerts)
    panel.finish(detector)
    return found_leak


def _feed(
    detector: LeakDetector, rows: Iterator[Row], printer: _Printer, alerts: list[LeakAlert] | None = None
) -> bool:
    update = detector.update
    found_leak = False
    for time_s, rss_bytes in rows:
        alert = update(time_s, rss_bytes)
        if alert is not None:
            found_leak = found_leak or alert.event == "memleak.leak"
            printer.print(alert)
            if alerts is not None:
                alerts.append(alert)
            elif printer.nobody_reads:
                break
    return found_leak


def _detector(options: argparse.Namespace, head: list[Row]) -> LeakDetector:
    from otel_memleak.detector import LeakDetector

    interval_s = options.sampling_interval or infer_interval_s(head)
    return LeakDetector(
        options.limit_mb * MB if options.limit_mb else None,
        sampling_interval_seconds=interval_s,
        baseline_window_seconds=options.baseline_window or max(300.0, 5 * interval_s),
        patience_seconds=options.patience,
    )


def infer_interval_s(rows: list[Row]) -> float:
    """Returns the median spacing of rows that go forward in time, in seconds; 60 when there is none."""
    spacings = [later - earlier for (earlier, _), (later, _) in pairwise(rows)]
    forward = [spacing for spacing in spacings if spacing > 0 and math.isfinite(spacing)]
    return statistics.median(forward) if forward else _DEFAULT_INTERVAL_S


def as_json(alert: LeakAlert, labels: Mapping[str, str] | None = None) -> str:
    """Returns an alert as one line of strict JSON: a number JSON has no word for becomes null.

    Args:
        alert: What the detector said.
        labels: Of its series, where there are several.
    """
    fields: dict[str, Any] = asdict(alert)
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            fields[name] = None
    if labels:
        fields["series"] = dict(labels)
    return json.dumps(fields, allow_nan=False)


class _Printer:
    """Prints alerts at once, as long as somebody reads them."""

    def __init__(self) -> None:
        self.labels: Mapping[str, str] = {}
        self.nobody_reads = False

    def print(self, alert: LeakAlert) -> None:
        if self.nobody_reads:
            return
        try:
            print(as_json(alert, self.labels), flush=True)
        except BrokenPipeError:
            # Python flushes standard output once more at exit: give it somewhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.nobody_reads = True


def _say(remark: str) -> None:
    print(f"otel-memleak replay: {remark}", file=sys.stderr)


def _refuse(message: str) -> int:
    _say(message)
    return 2
