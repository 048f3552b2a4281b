"""Sum the verdicts up, and print them as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from .process import HOUR
from .verdict import Verdict

RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """One detector over one corpus. A figure without a case is NaN.

    Attributes:
        precision: True accusations among all.
        recall: Leaks found.
        f1: Harmonic mean of both.
        precision_interval: 95 % bootstrap interval.
        recall_interval: 95 % bootstrap interval.
        accused: Share of innocent series accused.
        false_alarms: Episodes per 1000 days of innocent process life.
        early: Leaking series accused before the onset.
        in_time: Leaks found with at least half of the room left, among all leaks.
        urgent_recall: Recall on leaks that came close to the limit.
        fast_recall: Recall on leaks that killed within ten minutes.
        delay_h: Median and 90th percentile, hours.
        rate_error: Median at the first claim.
        coverage: Share of rate intervals that held a true rate.
        interval_share: Median half width of these intervals, relative.
        eta_error: Median at the first claim.
        eta_coverage: Share of intervals of the time left that held the true one.
        updates_per_second: Over all series.
        state_bytes: Largest state left behind by any series.
    """

    precision: float
    recall: float
    f1: float
    precision_interval: tuple[float, float]
    recall_interval: tuple[float, float]
    accused: float
    false_alarms: float
    early: int
    in_time: float
    urgent_recall: float
    fast_recall: float
    delay_h: tuple[float, float]
    rate_error: float
    coverage: float
    interval_share: float
    eta_error: float
    eta_coverage: float
    updates_per_second: float
    state_bytes: int


def score(verdicts: Sequence[Verdict]) -> Score:
    """Sum the verdicts of one detector up."""
    leaks = [v for v in verdicts if v.leaks]
    innocents = [v for v in verdicts if not v.leaks]
    delays_h = _known(v.delay_s / HOUR if v.delay_s is not None else None for v in leaks)
    precision, recall = _precision(leaks, innocents), _share(v.found for v in leaks)
    precisions, recalls = _resampled(leaks, innocents)
    return Score(
        precision=precision,
        recall=recall,
        f1=_ratio(2 * precision * recall, precision + recall),
        precision_interval=_interval(precisions),
        recall_interval=_interval(recalls),
        accused=_share(v.false for v in innocents),
        false_alarms=1000 * _ratio(sum(v.episodes for v in innocents), sum(v.days for v in innocents)),
        early=sum(v.false for v in leaks),
        in_time=_share(v.in_time for v in leaks),
        urgent_recall=_share(v.found for v in leaks if v.urgent),
        fast_recall=_share(v.found for v in leaks if v.fast),
        delay_h=(_quantile(delays_h, 0.5), _quantile(delays_h, 0.9)),
        rate_error=_quantile(_known(v.rate_error for v in leaks), 0.5),
        coverage=_share(_known(v.covered for v in leaks)),
        interval_share=_quantile(_known(v.interval_share for v in leaks), 0.5),
        eta_error=_quantile(_known(v.eta_error for v in leaks), 0.5),
        eta_coverage=_share(_known(v.eta_covered for v in leaks)),
        updates_per_second=_ratio(sum(v.samples for v in verdicts), sum(v.seconds for v in verdicts)),
        state_bytes=max((v.state_bytes for v in verdicts), default=0),
    )


def _precision(leaks: Sequence[Verdict], innocents: Sequence[Verdict]) -> float:
    true = sum(v.found for v in leaks)
    false = sum(v.false for v in leaks) + sum(v.false for v in innocents)
    return _ratio(true, true + false)


def _resampled(leaks: Sequence[Verdict], innocents: Sequence[Verdict]) -> tuple[list[float], list[float]]:
    """Precision and recall over resampled corpora: series drawn with replacement within each class."""
    random = Random(0)
    precisions, recalls = [], []
    for _ in range(RESAMPLES):
        some_leaks = random.choices(leaks, k=len(leaks)) if leaks else []
        some_innocents = random.choices(innocents, k=len(innocents)) if innocents else []
        precisions.append(_precision(some_leaks, some_innocents))
        recalls.append(_share(v.found for v in some_leaks))
    return precisions, recalls


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _share(flags: Iterable[float]) -> float:
    counted = list(flags)
    return _ratio(sum(counted), len(counted))


def _interval(values: Sequence[float]) -> tuple[float, float]:
    usable = [value for value in values if not math.isnan(value)]
    return _quantile(usable, 0.025), _quantile(usable, 0.975)


def _quantile(values: Sequence[float], part: float) -> float:
    """Quantile by linear interpolation between the two nearest ranks."""
    if not values:
        return math.nan
    if part == 0.5:
        return median(values)
    ordered = sorted(values)
    position = part * (len(ordered) - 1)
    left = math.floor(position)
    right = min(left + 1, len(ordered) - 1)
    return ordered[left] + (position - left) * (ordered[right] - ordered[left])


def _figure(value: float, form: str = ".2f", suffix: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{form}}{suffix}"


def _percent(share: float) -> str:
    return _figure(100 * share, ".0f", " %")


def _range(interval: tuple[float, float]) -> str:
    return "–" if math.isnan(interval[0]) else f"{_figure(interval[0])}–{_figure(interval[1])}"


COLUMNS: tuple[tuple[str, Callable[[Score], str]], ...] = (
    ("P (95 %)", lambda s: f"{_figure(s.precision)} ({_range(s.precision_interval)})"),
    ("R (95 %)", lambda s: f"{_figure(s.recall)} ({_range(s.recall_interval)})"),
    ("F1", lambda s: _figure(s.f1)),
    ("innocents accused", lambda s: _percent(s.accused)),
    ("false alarms / 1000 process-days", lambda s: _figure(s.false_alarms, ".0f")),
    ("before onset", lambda s: str(s.early)),
    ("in time", lambda s: _figure(s.in_time)),
    ("urgent R", lambda s: _figure(s.urgent_recall)),
    ("10-min R", lambda s: _figure(s.fast_recall)),
    ("delay median / p90 h", lambda s: f"{_figure(s.delay_h[0], '.1f')} / {_figure(s.delay_h[1], '.1f')}"),
    ("rate error", lambda s: _percent(s.rate_error)),
    ("rate coverage (± width)", lambda s: f"{_percent(s.coverage)} (± {_percent(s.interval_share)})"),
    ("ETA error", lambda s: _percent(s.eta_error)),
    ("ETA coverage", lambda s: _percent(s.eta_coverage)),
)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comparison(results: Mapping[str, Sequence[Verdict]]) -> str:
    """One row per detector."""
    scores = {name: score(verdicts) for name, verdicts in results.items()}
    return markdown(
        ["detector", *(title for title, _ in COLUMNS)],
        ([name, *(show(found) for _, show in COLUMNS)] for name, found in scores.items()),
    )


def costs(results: Mapping[str, Sequence[Verdict]]) -> str:
    """Speed and size, one row per detector; the speed is this machine's."""
    scores = {name: score(verdicts) for name, verdicts in results.items()}
    return markdown(
        ["detector", "updates / s", "state KiB, at most"],
        ([n, f"{s.updates_per_second:,.0f}", f"{s.state_bytes / 1024:.1f}"] for n, s in scores.items()),
    )


def by_pattern(results: Mapping[str, Sequence[Verdict]]) -> str:
    """One row per pattern, one column per detector: share of the innocent accused, of the leaking found."""
    patterns = {v.pattern: v.leaks for verdicts in results.values() for v in verdicts}
    rows = []
    for pattern, leaks in patterns.items():
        cells = [_cell([v for v in verdicts if v.pattern == pattern]) for verdicts in results.values()]
        rows.append([pattern, "leak" if leaks else "innocent", *cells])
    return markdown(["pattern", "truth", *results], rows)


def _cell(verdicts: Sequence[Verdict]) -> str:
    accused = _share(v.false for v in verdicts)
    if not any(v.leaks for v in verdicts):
        return _percent(accused)
    early = f", {_percent(accused)} early" if accused else ""
    delays_h = _known(v.delay_s / HOUR if v.delay_s is not None else None for v in verdicts)
    return (
        f"{_percent(_share(v.found for v in verdicts))}, {_figure(_quantile(delays_h, 0.5), '.1f')} h{early}"
    )
