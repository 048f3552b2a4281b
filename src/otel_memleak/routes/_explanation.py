"""What explains the growth: calls of a route, time, or something that will end by itself.

Each route is offered as a leak (bytes in proportion to its calls) and as caches that fill with its calls;
time is offered as a leak in the background and as a warm-up; the sharpest jumps are offered as what they are.
Whatever is named has beaten all innocent explanations together. Growth is said to follow no request
only when time has beaten all requests together, and they came unevenly enough for that to mean something.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Final, Literal

from otel_memleak.routes._regression import MEMORIES, Model, Regression
from otel_memleak.types import RouteSuspect

Verdict = Literal["route", "background", "unclear"]

MIN_ROWS: Final = 10
MIN_CALLS: Final = 3.0
CLEARLY: Final = 6.0
ALIKE: Final = 4.0
MAX_ALIKE: Final = 4
MIN_SHARE: Final = 0.25
MAX_SUSPECTS: Final = 5
_FILL_RATES: Final = (3.0, 10.0, 32.0)
_FALLS: Final = 2
_RISES: Final = 6
_UNMODELLED: Final = 0.02
_STARTING_AT_MOST: Final = 3
_STEEP: Final = 2.0
_NORMAL_QUANTILE: Final = 1.959964
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found.

    Attributes:
        verdict: ``route``, ``background`` or ``unclear``.
        suspects: Worst first.
        background_bytes_per_hour: Growth that follows the clock.
        bytes_per_request: Retained per call, whatever the route.
    """

    verdict: Verdict = "unclear"
    suspects: tuple[RouteSuspect, ...] = ()
    background_bytes_per_hour: float = 0.0
    bytes_per_request: float = 0.0


def explain(
    times_s: Sequence[float],
    levels_bytes: Sequence[float],
    calls: dict[str, list[float]],
    weights: Sequence[float],
) -> Explanation:
    """Weigh the explanations against each other.

    Args:
        times_s: Ascending times.
        levels_bytes: Retained memory at each.
        calls: Calls until each, by route.
        weights: What each point but the first is worth, 0 to 1.
    """
    start = _started(levels_bytes)
    called = {name: line[start:] for name, line in calls.items() if line[-1] - line[start] >= MIN_CALLS}
    if len(times_s) - start < MIN_ROWS:
        return Explanation()
    return _Contest(times_s[start:], levels_bytes[start:], called, weights[start:]).decide()


class _Contest:
    """The columns, in order: time, the routes, all calls together, then everything that ends by itself."""

    def __init__(
        self,
        times_s: Sequence[float],
        levels_bytes: Sequence[float],
        calls: dict[str, list[float]],
        weights: Sequence[float],
    ) -> None:
        self._names = list(calls)
        self._totals = [line[-1] - line[0] for line in calls.values()]
        self._span_s = times_s[-1] - times_s[0]
        growing = [_progress(times_s), *map(_progress, calls.values())]
        everything = [math.fsum(column) for column in zip(*calls.values())] if calls else []  # noqa: B905
        ending = [_filling(column, rate) for rate in _FILL_RATES for column in growing]
        columns = [*growing, _progress(everything) if everything else growing[0], *ending]
        self._jumps = len(columns)
        columns += _jumps(levels_bytes)
        self._routes = range(1, 1 + len(calls))
        self._all_calls = 1 + len(calls)
        self._count = len(columns)
        self._candidates = [i for i in range(len(columns)) if i != self._all_calls]
        self._uneven = _uneven(growing[0], growing[1:])
        price = 2.0 * math.log(len(columns)) + 1.0
        self._freedom = math.fsum(weights)
        self._regressions = [Regression(levels_bytes, columns, weights, m, price) for m in MEMORIES]

    def decide(self) -> Explanation:
        models = self._models(self._candidates)
        model = _best(models)
        innocent = _best(self._models([i for i in self._candidates if i not in self._routes]))
        suspects: tuple[RouteSuspect, ...] = ()
        if innocent.score - model.score >= CLEARLY:
            suspects = self._suspects(model, models)
        verdict: Verdict = "route" if suspects else "unclear"
        if not suspects and 0 in innocent.terms and self._uneven:
            timeless = _best(self._models(range(1, self._count)))
            if timeless.score - innocent.score >= CLEARLY:
                verdict = "background"
        drift = (model if suspects else innocent).coefficient(0)
        return Explanation(verdict, suspects, drift / self._span_s * _HOUR, self._bytes_per_request())

    def _models(self, allowed: Sequence[int]) -> list[Model]:
        """The best model under each filter."""
        return [regression.search(allowed) for regression in self._regressions]

    def _suspects(self, model: Model, models: Sequence[Model]) -> tuple[RouteSuspect, ...]:
        # A jump is over: what matters is the share of what goes on.
        going_on = [term < self._jumps for term in model.terms]
        growth = math.fsum(compress(model.coefficients, going_on))
        found: list[tuple[float, RouteSuspect]] = []
        for index, term in enumerate(model.terms):
            share = model.coefficients[index]
            if term not in self._routes or share < MIN_SHARE * growth:
                continue
            names = [term, *self._alike(model, term)]
            if len(names) <= MAX_ALIKE:
                low, high = self._interval(term, models)
                found.append((share, self._suspect(names, low, share, high)))
        found.sort(key=lambda pair: -pair[0])
        return tuple(suspect for _, suspect in found[:MAX_SUSPECTS])

    def _alike(self, model: Model, term: int) -> list[int]:
        """Routes that would do as well in this one's place, the likeliest first."""
        regression = self._regressions[MEMORIES.index(model.memory)]
        others: list[tuple[float, int]] = []
        for other in self._routes:
            if other not in model.terms:
                replaced = regression.replace(model, term, other)
                if other in replaced.terms and replaced.score - model.score < ALIKE:
                    others.append((replaced.score, other))
        return [other for _, other in sorted(others)]

    def _interval(self, term: int, models: Sequence[Model]) -> tuple[float, float]:
        """Bytes grown with a route: wide enough for every filter's opinion, not only the likeliest one's.

        An interval of one model holds only if that model is true, and none is: caches too small to be found
        are put down to the routes. For those a fiftieth is added; see the coverage in the benchmark.
        """
        ends: list[float] = []
        # Student's quantile at 97.5 %, to a percent from five degrees of freedom on.
        quantile = _NORMAL_QUANTILE + 2.8 / max(4.0, self._freedom - 4.0)
        for model in models:
            if term in model.terms:
                bytes_grown = model.coefficient(term)
                margin = quantile * model.deviations[model.terms.index(term)] + _UNMODELLED * bytes_grown
                ends += [bytes_grown - margin, bytes_grown + margin]
        return max(0.0, min(ends)), max(ends)

    def _suspect(self, terms: Sequence[int], low: float, bytes_grown: float, high: float) -> RouteSuspect:
        calls = math.fsum(self._totals[term - 1] for term in terms)
        name = " + ".join(self._names[term - 1] for term in terms)
        return RouteSuspect(name, bytes_grown / calls, low / calls, high / calls)

    def _bytes_per_request(self) -> float:
        calls = math.fsum(self._totals)
        if calls <= 0.0:
            return 0.0
        fits = [regression.fit((self._all_calls,)) for regression in self._regressions]
        return _best(fits).coefficient(self._all_calls) / calls


def _best(models: Sequence[Model]) -> Model:
    return min(models, key=lambda model: model.score)


def _started(levels: Sequence[float]) -> int:
    """The point from which a process has started: what comes in before, modules and pools, is nobody's leak.

    Starting is steep, in many steps, more than there are terms for, and would pass for the noise of all the
    rest. So the points up to the last rise beyond what is seen in the second half are left out, but no more
    than a third of all.
    """
    rises = [b - a for a, b in pairwise(levels)]
    later = sorted(rises[len(rises) // 2 :])
    if len(later) < MIN_ROWS:
        return 0
    usual = max(later[-1 - len(later) // 20], 0.0)
    early = rises[: len(rises) // _STARTING_AT_MOST]
    return max((i + 1 for i, rise in enumerate(early) if rise > _STEEP * usual), default=0)


def _progress(series: Sequence[float]) -> list[float]:
    """From 0 at the first point to 1 at the last."""
    first, whole = series[0], series[-1] - series[0]
    return [(value - first) / whole if whole > 0.0 else 0.0 for value in series]


def _uneven(time: Sequence[float], routes: Sequence[Sequence[float]]) -> bool:
    """Whether every route has run ahead of the clock or behind it, by more than a sample.

    Within a sample nobody knows: memory and calls are not read at the same instant. Of a route that keeps
    pace with the clock, such as a health check, it cannot be told which of the two growth follows.
    """
    lead = [max(abs(a - b) for a, b in zip(time, route)) for route in routes]  # noqa: B905
    return min(lead, default=0.0) > 1.0 / len(time)


def _filling(progress: Sequence[float], rate: float) -> list[float]:
    """A cache that fills in proportion to what it lacks."""
    full = math.expm1(-rate)
    return [math.expm1(-rate * p) / full for p in progress]


def _jumps(levels: Sequence[float]) -> list[list[float]]:
    """The sharpest rises and falls, each as a column that jumps there and stays."""
    rises = sorted((b - a, i) for i, (a, b) in enumerate(pairwise(levels), start=1))
    falling = [(-1.0, i) for rise, i in rises[:_FALLS] if rise < 0.0]
    rising = [(1.0, i) for rise, i in rises[-_RISES:] if rise > 0.0]
    return [[sign if j >= i else 0.0 for j in range(len(levels))] for sign, i in falling + rising]
