"""The judge and the sums: would a table of the benchmark be true?"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from benchmarks.detection.__main__ import main
from benchmarks.detection.baselines import Trend
from benchmarks.detection.bench import BASELINES, load, run
from benchmarks.detection.corpus import Series
from benchmarks.detection.process import HOUR, MB
from benchmarks.detection.score import by_pattern, comparison, score
from benchmarks.detection.verdict import (
    Claim,
    Detector,
    DetectorFactory,
    Verdict,
    judge,
    state_bytes,
    true_rates,
)

EPOCH_S = 1.7e9
SAMPLES = 600
LEAK_BYTES_PER_S = 0.2 * MB


def straight_leak(onset: int = 100) -> Series:
    """100 MB, one sample a second, then 0.2 MB a second from sample ``onset`` until the limit at 200 MB."""
    leaked = array("d", (LEAK_BYTES_PER_S * max(0, i - onset) for i in range(SAMPLES)))
    return Series(
        id="straight/0",
        pattern="straight",
        leaks=True,
        interval_seconds=1.0,
        limit_bytes=200.0 * MB,
        limit_visible=True,
        base_bytes=100.0 * MB,
        times_s=array("d", (EPOCH_S + i for i in range(SAMPLES))),
        rss_bytes=array("d", (100.0 * MB + lost for lost in leaked)),
        true_times_s=array("d", range(SAMPLES)),
        leaked_bytes=leaked,
        held_bytes=leaked,
        onset_s=float(onset),
        reached_limit=True,
    )


def innocent() -> Series:
    nothing = array("d", bytes(8 * SAMPLES))
    harmless = replace(straight_leak(), leaks=False, onset_s=None, reached_limit=False)
    return replace(harmless, leaked_bytes=nothing, held_bytes=nothing)


def speaking(claims: dict[int, Claim]) -> DetectorFactory:
    """A detector that makes these claims at these samples, whatever it is fed."""

    class Scripted:
        def __init__(self, limit_bytes: float | None, *, sampling_interval_seconds: float) -> None:
            self.heard = 0

        def update(self, time_s: float, rss_bytes: float) -> Claim | None:
            self.heard += 1
            return claims.get(self.heard - 1)

    return Scripted


RIGHT = Trend(LEAK_BYTES_PER_S * HOUR, 400.0, 0.9 * LEAK_BYTES_PER_S * HOUR, 1.1 * LEAK_BYTES_PER_S * HOUR)


@dataclass(frozen=True)
class Event(Trend):
    event: str = "memleak.leak"


def test_a_claim_after_the_onset_finds_the_leak() -> None:
    """Delay counts from the onset, room is what is left below the limit, and a right rate has no error."""
    verdict = judge(speaking({200: RIGHT}), straight_leak())

    assert verdict.found
    assert not verdict.false
    assert verdict.urgent
    assert verdict.fast
    assert verdict.delay_s == 100
    assert verdict.room_used == pytest.approx(20 / 100)
    assert verdict.in_time
    assert verdict.rate_error == pytest.approx(0.0, abs=1e-9)
    assert verdict.covered is True
    assert verdict.interval_share == pytest.approx(0.1)
    assert verdict.eta_error == pytest.approx(0.0)


def test_a_late_claim_is_found_but_not_in_time() -> None:
    """With more than half of the room gone nobody can act."""
    verdict = judge(speaking({400: RIGHT}), straight_leak())

    assert verdict.found
    assert verdict.room_used == pytest.approx(0.6)
    assert not verdict.in_time


def test_silence_misses_the_leak() -> None:
    """No claim: neither found nor false, and no figures that would flatter the medians."""
    verdict = judge(speaking({}), straight_leak())

    assert not verdict.found
    assert not verdict.false
    assert verdict.delay_s is verdict.rate_error is verdict.eta_error is verdict.room_used is None


def test_a_claim_before_the_onset_is_false_even_if_the_leak_comes() -> None:
    """Crying wolf early earns no delay figure, though a later claim still finds the leak."""
    verdict = judge(speaking({50: RIGHT, 300: RIGHT}), straight_leak())

    assert verdict.false
    assert verdict.found
    assert verdict.delay_s is None


def test_any_claim_accuses_the_innocent() -> None:
    """One is enough, and claims within six hours wake somebody once."""
    verdict = judge(speaking({10: RIGHT, 20: RIGHT}), innocent())

    assert verdict.false
    assert verdict.episodes == 1


def test_claims_far_apart_are_several_episodes() -> None:
    """A rule that cries every day is worse than one that cries once."""
    slow = innocent()
    slow = replace(slow, true_times_s=array("d", (t * HOUR for t in slow.true_times_s)))

    assert judge(speaking({10: RIGHT, 14: RIGHT, 21: RIGHT}), slow).episodes == 2


def test_only_leak_events_are_claims() -> None:
    """A threshold crossed or an incident closed does not say that there is a leak."""
    other = Event(1.0, event="memleak.rss")

    assert not judge(speaking({10: other}), innocent()).false
    assert judge(speaking({10: Event(1.0)}), innocent()).false


def test_a_wrong_rate_and_forecast_are_measured() -> None:
    """Half of the true rate is an error of 50 %, twice the true time one of 100 %."""
    wrong = Trend(
        0.5 * LEAK_BYTES_PER_S * HOUR, 800.0, 0.4 * LEAK_BYTES_PER_S * HOUR, 0.6 * LEAK_BYTES_PER_S * HOUR
    )
    verdict = judge(speaking({200: wrong}), straight_leak())

    assert verdict.rate_error == pytest.approx(0.5)
    assert verdict.covered is False
    assert verdict.eta_error == pytest.approx(1.0)


@dataclass(frozen=True)
class Forecasting(Trend):
    time_to_limit_low_s: float | None = None
    time_to_limit_high_s: float | None = None


@pytest.mark.parametrize(
    ("low_s", "high_s", "covered"),
    [(300.0, 500.0, True), (410.0, 500.0, False), (300.0, 390.0, False), (300.0, None, True)],
)
def test_the_interval_of_the_time_left_holds_the_true_one_or_not(
    low_s: float, high_s: float | None, covered: bool
) -> None:
    """The limit is reached 400 s after the claim; an interval without an upper end is open."""
    claim = Forecasting(LEAK_BYTES_PER_S * HOUR, 400.0, None, None, low_s, high_s)

    assert judge(speaking({200: claim}), straight_leak()).eta_covered is covered
    assert judge(speaking({200: RIGHT}), straight_leak()).eta_covered is None


def test_a_claim_on_a_failed_reading_uses_the_last_good_one() -> None:
    """NaN is nobody's resident memory: the room is judged by what was read before."""
    series = straight_leak()
    series.rss_bytes[200] = math.nan
    verdict = judge(speaking({200: RIGHT}), series)

    assert verdict.room_used == pytest.approx(20 / (20 + 100 - 19.8))


def test_true_time_judges_not_the_clock() -> None:
    """A clock that is set forward must not make a claim look late."""
    series = straight_leak()
    series = replace(series, times_s=array("d", (t + 3600 for t in series.times_s)))

    assert judge(speaking({200: RIGHT}), series).delay_s == 100


def test_limit_is_told_only_where_it_is_visible() -> None:
    """A hidden limit neither reaches the detector nor judges a forecast."""
    told: list[float | None] = []

    def build(limit_bytes: float | None, *, sampling_interval_seconds: float) -> Detector:
        told.append(limit_bytes)
        return speaking({200: RIGHT})(limit_bytes, sampling_interval_seconds=sampling_interval_seconds)

    hidden = replace(straight_leak(), limit_visible=False)

    assert judge(build, hidden).eta_error is None
    judge(build, straight_leak())
    assert told == [None, 200.0 * MB]


def test_true_rates_cover_the_windows_since_the_onset() -> None:
    """No window reaches back before the onset, where the leak had no rate."""
    assert true_rates(straight_leak(), 100.0, 200.0) == pytest.approx([LEAK_BYTES_PER_S * HOUR] * 4)


def test_state_includes_everything_but_code() -> None:
    """A detector cannot hide its memory in an attribute, a closure or a bound method."""

    class Holder:
        def __init__(self) -> None:
            self.inner = {"kept": [array("d", bytes(80_000))]}

    assert state_bytes(Holder()) > 80_000
    assert state_bytes(Holder().inner["kept"].append) > 80_000
    holder = Holder()
    assert state_bytes(lambda: holder) > 80_000
    assert state_bytes(object()) < 100


def a_verdict(leaks: bool, found: bool = False, false: bool = False, **more: Any) -> Verdict:
    return replace(Verdict("p", leaks, 1.0, 100, 0.5, 2048, false, found=found), **more)


def test_score_sums_up() -> None:
    """Literal figures: 3 of 4 leaks, 1 of 5 innocents in 5 days, one leak accused early."""
    verdicts = [
        a_verdict(True, found=True, delay_s=HOUR, room_used=0.2, rate_error=0.1),
        a_verdict(True, found=True, delay_s=3 * HOUR, room_used=0.8, rate_error=0.3),
        a_verdict(True, found=True, false=True),
        a_verdict(True),
        a_verdict(False, false=True, episodes=2),
        *(a_verdict(False) for _ in range(4)),
    ]
    found = score(verdicts)

    assert found.precision == pytest.approx(3 / 5)
    assert found.recall == pytest.approx(3 / 4)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.accused == pytest.approx(1 / 5)
    assert found.false_alarms == pytest.approx(400)
    assert found.early == 1
    assert found.in_time == pytest.approx(1 / 4)
    assert found.delay_h == pytest.approx((2.0, 2.8))
    assert found.rate_error == pytest.approx(0.2)
    assert found.updates_per_second == pytest.approx(200)
    assert found.state_bytes == 2048
    assert math.isnan(found.coverage)


def test_intervals_are_repeatable_and_hold_the_estimate() -> None:
    """The bootstrap has a seed of its own: the table must not change from run to run."""
    verdicts = [a_verdict(True, found=i % 4 > 0) for i in range(40)]
    verdicts += [a_verdict(False, false=i % 5 == 0) for i in range(40)]
    first, second = score(verdicts), score(verdicts)

    assert first == second
    assert first.recall_interval[0] < first.recall < first.recall_interval[1]
    assert first.precision_interval[0] < first.precision < first.precision_interval[1]


def test_tables_have_a_row_per_detector_and_per_pattern() -> None:
    """Markdown that renders: the same number of cells in every row."""
    results = {"a": [a_verdict(True), a_verdict(False)], "b": [a_verdict(True), a_verdict(False)]}
    for table, rows in ((comparison(results), 2), (by_pattern({"a": results["a"]}), 1)):
        lines = table.splitlines()
        assert len(lines) == 2 + rows
        assert len({line.count("|") for line in lines}) == 1


def without_speed(results: Mapping[str, Sequence[Verdict]]) -> dict[str, list[Verdict]]:
    return {name: [replace(v, seconds=0.0) for v in verdicts] for name, verdicts in results.items()}


def test_jobs_do_not_change_the_verdicts() -> None:
    """Two processes find what one finds, in the same order."""
    names, only = list(BASELINES)[:2], ["warm_up", "fast_out_of_memory"]

    alone = without_speed(run(names, seed=1, per_pattern=2, only=only))
    assert alone == without_speed(run(names, seed=1, per_pattern=2, only=only, jobs=2))


def test_each_detector_gets_its_own_verdicts() -> None:
    """Together or alone, in any company: a row of the table belongs to the detector it names."""
    first, second = list(BASELINES)[:2]
    together = without_speed(run([first, second], seed=1, per_pattern=2, only=["idle", "linear"]))

    assert list(together) == [first, second]
    assert together[first] != together[second]
    for name in together:
        alone = without_speed(run([name], seed=1, per_pattern=2, only=["idle", "linear"]))
        assert alone[name] == together[name]


def test_same_seed_prints_the_same_table(capsys: pytest.CaptureFixture[str]) -> None:
    """What varies from run to run (speed) is not on standard output."""
    arguments = [
        "--series",
        "1",
        "--only",
        "warm_up",
        "linear",
        "--patterns",
        "--detector",
        next(iter(BASELINES)),
    ]

    assert main(arguments) == 0
    first = capsys.readouterr()
    assert main(arguments) == 0
    assert first.out == capsys.readouterr().out
    assert "| linear | leak |" in first.out
    assert "updates / s" in first.err


@pytest.mark.parametrize(
    "arguments", [["--only", "lineer"], ["--detector", "nonsense"], ["--detector", "math:Nonsense"]]
)
def test_bad_arguments_are_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name exits with 2 and says which."""
    assert main(["--series", "1", *arguments]) == 2
    assert arguments[1].rpartition(":")[2] in capsys.readouterr().err


def test_detectors_load_by_name_and_by_place() -> None:
    """Somebody else's detector needs no change of ours."""
    assert load("benchmarks.detection.baselines:LeastSquares") is BASELINES["least squares 5 min > 50 MB/h"]
