"""Sparse non-negative regression of a level on counters, under noise that both wanders and flickers.

Resident memory wanders (arenas) and flickers (garbage, pages) at once. Regressing levels takes the wandering
for evidence, regressing differences drowns in the flicker; the local-level model (Harvey 1989, chapter 2)
holds both. In its innovations form the differences are a moving average of order one, so one recursive filter
makes residuals independent, and one number, the memory of the filter, says how much of the noise passes. It
is found by maximum likelihood on a grid.

Leaks are few. So columns are not all fitted at once: they are taken up one by one, as long as each lifts the
likelihood beyond what the best of as many innocent ones would (Foster and George 1994).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

MEMORIES: Final = (0.0, 0.5, 0.8, 0.93)
"""Share of a shock that is gone at the next point: 0 is a random walk, 1 would be noise around a line."""

MAX_TERMS: Final = 10
_FIRSTS: Final = 8
_RIDGE: Final = 1e-9
_TOLERANCE: Final = 1e-7
_MIN_FREEDOM: Final = 4.0


@dataclass(frozen=True, slots=True)
class Model:
    """Columns with positive coefficients, and how well they explain the response.

    Attributes:
        memory: Of the filter it was fitted under.
        terms: Indices of the columns.
        coefficients: As many, none negative.
        deviations: Standard errors of the coefficients.
        score: Twice the negative log-likelihood plus what its terms cost; lower is better.
    """

    memory: float
    terms: tuple[int, ...]
    coefficients: tuple[float, ...]
    deviations: tuple[float, ...]
    score: float

    def coefficient(self, term: int) -> float:
        """Coefficient of a column; 0 when the model does without it."""
        return self.coefficients[self.terms.index(term)] if term in self.terms else 0.0


class Regression:
    """All columns under one filter. Products are computed when first needed: most never are.

    Args:
        level: The response at each point.
        columns: Candidates, of the same length.
        weights: Weight of each point but the first.
        memory: Of the filter.
        price: What a term must improve the score by.
    """

    def __init__(
        self,
        level: Sequence[float],
        columns: Sequence[Sequence[float]],
        weights: Sequence[float],
        memory: float,
        price: float,
    ) -> None:
        self.memory = memory
        self._price = price
        self._count = math.fsum(weights)
        roots = [math.sqrt(w) for w in weights]
        # The filter starts at rest; what it should have remembered by then is projected out.
        start = _unit([root * memory**i for i, root in enumerate(roots)]) if memory else None
        self._response = _prepare(level, memory, roots, start)
        self._columns = [_prepare(column, memory, roots, start) for column in columns]
        self._power = _dot(self._response, self._response)
        self.alongs = [_dot(column, self._response) for column in self._columns]
        self.sizes = [_dot(column, column) for column in self._columns]
        self._products: dict[int, list[float]] = {}

    def search(self, allowed: Collection[int]) -> Model:
        """The best model that forward steps and exchanges find among these columns.

        They climb from nothing and from the best pair: two columns may explain together what neither does.
        """
        climbed = self._climb(self.fit(()), allowed)
        pair = self._best_pair(allowed)
        if pair is None:
            return climbed
        return min(climbed, self._climb(pair, allowed), key=lambda model: model.score)

    def _best_pair(self, allowed: Collection[int]) -> Model | None:
        """The best of the pairs that hold one of the columns that alone explain most."""
        alone = _Solved(self, ()).gains()
        firsts = sorted(allowed, key=lambda term: -alone[term])[:_FIRSTS]
        pairs = [pair for first in firsts if (pair := self._extend((first,), allowed)) is not None]
        return min(pairs, key=lambda pair: pair.score, default=None)

    def _climb(self, model: Model, allowed: Collection[int]) -> Model:
        while len(model.terms) < MAX_TERMS:
            longer = self._extend(model.terms, allowed)
            if longer is None or longer.score >= model.score:
                break
            model = self._exchange(longer, allowed)
        return model

    def fit(self, terms: tuple[int, ...]) -> Model:
        """Least squares on these columns, without those that would turn negative."""
        while True:
            solved = _Solved(self, terms)
            worst = min(solved.coefficients, default=0.0)
            if worst >= 0.0:
                return self._judge(terms, solved)
            drop = solved.coefficients.index(worst)
            terms = terms[:drop] + terms[drop + 1 :]

    def replace(self, model: Model, old: int, new: int) -> Model:
        """The model with one column put in the place of another."""
        return self.fit(tuple(new if term == old else term for term in model.terms))

    def products(self, term: int) -> list[float]:
        """Scalar products of a column with every column."""
        known = self._products.get(term)
        if known is None:
            column = self._columns[term]
            known = self._products[term] = [_dot(column, other) for other in self._columns]
        return known

    def _judge(self, terms: tuple[int, ...], solved: _Solved) -> Model:
        explained = math.fsum(c * self.alongs[t] for c, t in zip(solved.coefficients, terms))  # noqa: B905
        # Below a billionth of what there was to explain, the rest is rounding.
        rest = max(self._power - explained, 1e-9 * self._power, 1e-300)
        freedom = self._count - len(terms) - (1.0 if self.memory else 0.0)
        if freedom < _MIN_FREEDOM:
            return Model(self.memory, terms, (), (), math.inf)
        deviations = tuple(math.sqrt(max(0.0, v) * rest / freedom) for v in solved.variances)
        # The likelihood with the unbiased variance: with as few points as there are at first, the other one
        # takes every further term for progress.
        score = self._count * math.log(rest / freedom) + self._price * len(terms)
        return Model(self.memory, terms, tuple(solved.coefficients), deviations, score)

    def _extend(self, terms: tuple[int, ...], allowed: Collection[int]) -> Model | None:
        """The model with the column that explains most of what is left."""
        solved = _Solved(self, terms)
        gains = solved.gains()
        gain, term = max(((gains[term], term) for term in allowed if term not in terms), default=(0.0, -1))
        if gain <= 0.0:
            return None
        longer = self.fit((*terms, term))
        return longer if term in longer.terms else None

    def _exchange(self, model: Model, allowed: Collection[int]) -> Model:
        """Undo what an early step got wrong: give up a term for a better one, while that helps."""
        for _ in range(MAX_TERMS):
            others = [
                other
                for i in range(len(model.terms))
                if (other := self._extend(model.terms[:i] + model.terms[i + 1 :], allowed)) is not None
            ]
            best = min(others, key=lambda other: other.score, default=model)
            if best.score >= model.score - 1e-9:
                return model
            model = best
        return model


class _Solved:
    """Normal equations of a few columns, by Cholesky factors."""

    __slots__ = ("_factor", "_regression", "_terms", "_whitened", "coefficients")

    def __init__(self, regression: Regression, terms: tuple[int, ...]) -> None:
        self._regression = regression
        self._terms = terms
        rows = [[regression.products(t)[u] for u in terms] for t in terms]
        self._factor = _cholesky(rows)
        self._whitened = _forward(self._factor, [regression.alongs[t] for t in terms])
        self.coefficients = _backward(self._factor, self._whitened)

    @property
    def variances(self) -> Iterator[float]:
        """Diagonal of the inverse."""
        for i in range(len(self._terms)):
            unit = [1.0 if j == i else 0.0 for j in range(len(self._terms))]
            half = _forward(self._factor, unit)
            yield _dot(half, half)

    def gains(self) -> list[float]:
        """By how much each further column would lower the sum of squares; 0 if it would turn negative."""
        sizes, alongs = self._regression.sizes, self._regression.alongs
        left, along = sizes, alongs
        halves: list[list[float]] = []
        for line, term, whitened in zip(self._factor, self._terms, self._whitened):  # noqa: B905
            half = self._regression.products(term)
            for weight, earlier in zip(line, halves):  # noqa: B905
                half = [h - weight * e for h, e in zip(half, earlier)]  # noqa: B905
            scale = 1.0 / line[-1]
            half = [h * scale for h in half]
            halves.append(half)
            left = [v - h * h for v, h in zip(left, half)]  # noqa: B905
            along = [v - h * whitened for v, h in zip(along, half)]  # noqa: B905
        # What the others explain of a column but for rounding is no column any more.
        return [
            a * a / v if a > 0.0 and v > _TOLERANCE * size else 0.0
            for a, v, size in zip(along, left, sizes)  # noqa: B905
        ]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return float(sum(map(mul, a, b)))


def _unit(vector: list[float]) -> list[float]:
    size = math.sqrt(_dot(vector, vector))
    return [v / size for v in vector] if size > 0.0 else vector


def _prepare(
    series: Sequence[float], memory: float, roots: Sequence[float], start: Sequence[float] | None
) -> list[float]:
    """Innovations of a series under the filter, weighted, and free of the filter's start."""
    filtered: list[float] = []
    last, previous = 0.0, series[0]
    for value, root in zip(series[1:], roots):  # noqa: B905
        last = value - previous + memory * last
        previous = value
        filtered.append(last * root)
    if start is None:
        return filtered
    along = _dot(filtered, start)
    return [v - along * s for v, s in zip(filtered, start)]  # noqa: B905


def _cholesky(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    factor: list[list[float]] = []
    for i, row in enumerate(rows):
        line: list[float] = []
        for j in range(i):
            line.append((row[j] - _dot(line, factor[j])) / factor[j][j])
        line.append(math.sqrt(max(row[i] * (1.0 + _RIDGE) - _dot(line, line), _RIDGE * row[i], 1e-300)))
        factor.append(line)
    return factor


def _forward(factor: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    solved: list[float] = []
    for line, value in zip(factor, right):  # noqa: B905
        solved.append((value - _dot(line, solved)) / line[-1])
    return solved


def _backward(factor: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    count = len(factor)
    solved = [0.0] * count
    for i in reversed(range(count)):
        rest = right[i] - math.fsum(factor[j][i] * solved[j] for j in range(i + 1, count))
        solved[i] = rest / factor[i][i]
    return solved
