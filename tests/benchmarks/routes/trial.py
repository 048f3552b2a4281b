"""One simulated service watched until some time after its alert, and what was said of it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from otel_memleak.detector import LeakDetector
from otel_memleak.routes.attribution import RouteAttribution

from .service import Culprit, Service, make_service

INTERVAL_S: Final = 60.0
"""Between two samples of the detector; every other time follows from it."""

INNOCENT_S: Final = 300.0 * INTERVAL_S
PATIENCE_S: Final = 720.0 * INTERVAL_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to.

    Attributes:
        culprit: Who leaked.
        named: The suspects' names, worst first.
        right: The first of them is the guilty route and no other.
        error: Relative error of its bytes per call; NaN unless right.
        covered: Whether its interval holds the truth.
        verdict: Of the attribution.
        watched_s: Simulated time from the start to the question.
        update_s: Processor time per sample.
        solve_s: Processor time of the question.
    """

    culprit: Culprit
    named: tuple[str, ...]
    right: bool
    error: float
    covered: bool
    verdict: str
    watched_s: float
    update_s: float
    solve_s: float


def run(seed: int, culprit: Culprit, after_s: float, readings: int, watch_s: float | None = None) -> Outcome:
    """Watch a service and ask who leaks.

    Args:
        seed: Of the service.
        culprit: Who leaks in it.
        after_s: How long after the detector's alert the question is put.
        readings: Samples given to the attribution per sample of the detector.
        watch_s: Put it after this time instead, alert or not.
    """
    service = make_service(seed, culprit, INTERVAL_S / readings)
    attribution = RouteAttribution(sampling_interval_seconds=INTERVAL_S)
    watched, spent, samples = _watch(service, attribution, after_s, readings, watch_s)
    began = time.process_time()
    suspects = attribution.suspects()
    solve_s = time.process_time() - began
    first = suspects[0] if suspects else None
    right = first is not None and first.route == service.guilty
    truth = service.leak_bytes_per_call
    return Outcome(
        culprit,
        tuple(s.route for s in suspects),
        right,
        abs(first.bytes_per_call / truth - 1.0) if first and right else math.nan,
        first is not None and first.bytes_per_call_low <= truth <= first.bytes_per_call_high,
        attribution.verdict,
        watched,
        spent / samples,
        solve_s,
    )


def _watch(
    service: Service, attribution: RouteAttribution, after_s: float, readings: int, watch_s: float | None
) -> tuple[float, float, int]:
    """Feed the service to detector and attribution; time watched, seconds spent, samples."""
    detector = LeakDetector(sampling_interval_seconds=INTERVAL_S)
    end_s = watch_s or (INNOCENT_S if service.culprit == "nothing" else PATIENCE_S)
    spent, samples, last = 0.0, 0, 0.0
    for observation in service.observations(end_s):
        began = time.perf_counter()
        attribution.update(observation.time_s, observation.rss_bytes, observation.counts)
        spent += time.perf_counter() - began
        last = observation.time_s
        if samples % readings == 0 and watch_s is None:
            alert = detector.update(observation.time_s, observation.rss_bytes)
            if alert and alert.event == "memleak.leak":
                end_s = min(end_s, last + after_s)
        samples += 1
        if last >= end_s:
            break
    return last, spent, samples


HEADER: Final = (
    f"{'culprit':<11}{'runs':>5}{'named':>7}{'right':>7}{'error':>8}{'covered':>9}"
    f"{'watched':>9}{'µs/sample':>11}{'ms/answer':>11}"
)


def row(culprit: Culprit, outcomes: Sequence[Outcome]) -> str:
    """One line of the table: counts, median error, share of intervals that held, median and worst times."""
    right = [o for o in outcomes if o.right]
    error = f"{100.0 * statistics.median([o.error for o in right]):.1f} %" if right else ""
    covered = f"{100.0 * sum(o.covered for o in right) / len(right):.0f} %" if right else ""
    return (
        f"{culprit:<11}{len(outcomes):>5}{sum(bool(o.named) for o in outcomes):>7}{len(right):>7}{error:>8}"
        f"{covered:>9}{statistics.median(o.watched_s for o in outcomes) / 60.0:>5.0f} min"
        f"{1e6 * statistics.median(o.update_s for o in outcomes):>11.1f}"
        f"{1e3 * max(o.solve_s for o in outcomes):>11.0f}"
    )


CAPACITY: Final = 32
FULL_SAMPLES: Final = 1500


def full() -> str:
    """What a sample and an answer cost with as many routes as are told apart, all of them busy."""
    attribution, rng = RouteAttribution(CAPACITY, sampling_interval_seconds=INTERVAL_S), Random(1)
    calls = {f"GET /{number}": 0 for number in range(CAPACITY)}
    leaked, spent = 0.0, [0.0] * FULL_SAMPLES
    for number in range(FULL_SAMPLES):
        for name in calls:
            more = rng.randrange(10, 1000)
            calls[name] += more
            leaked += 700.0 * more * (name == "GET /3")
        began = time.thread_time()
        attribution.update(INTERVAL_S * number, 1e8 + leaked + 4e6 * rng.random(), calls)
        spent[number] = time.thread_time() - began
    began = time.thread_time()
    (suspect,) = attribution.suspects()
    solve_s = time.thread_time() - began
    assert suspect.route == "GET /3"
    return (
        f"{CAPACITY} busy routes: {1e6 * statistics.fmean(spent):.0f} µs of CPU time per sample (at most "
        f"{1e6 * max(spent):.0f}), and {1e3 * solve_s:.0f} ms for an answer, when there is an alert"
    )
