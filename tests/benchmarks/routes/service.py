"""A simulated service: routes, traffic whose mix varies, a heap with caches, garbage and perhaps a leak.

What makes attribution hard in production is here: a start in many steps that outweighs everything after it,
every route follows the same day, caches fill by calls as a leak does, cyclic garbage is collected in waves, resident memory moves by pages and the allocator gives
back late what was freed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal

Culprit = Literal["route", "background", "nothing"]

KB: Final = 1024
MB: Final = 1024 * KB
ROUTES: Final = 10
_PAGE: Final = 4 * KB


@dataclass(frozen=True, slots=True)
class Observation:
    """What the process knows of itself at one sample.

    Attributes:
        time_s: Simulated time.
        rss_bytes: Resident memory.
        counts: Calls per route since the start.
    """

    time_s: float
    rss_bytes: float
    counts: dict[str, int]


@dataclass(slots=True)
class _Wander:
    """A factor around 1 that forgets itself: noise with a correlation time."""

    rng: Random
    deviation: float
    correlation_s: float
    _log: float = 0.0

    def __post_init__(self) -> None:
        self._log = self.rng.gauss(0.0, self.deviation)

    def step(self, seconds: float) -> float:
        kept = math.exp(-seconds / self.correlation_s)
        self._log = kept * self._log + self.rng.gauss(0.0, self.deviation * math.sqrt(1.0 - kept * kept))
        return math.exp(self._log)


@dataclass(slots=True)
class _Cycle:
    """A factor that comes and goes with a period: hours of business, batches."""

    amplitude: float
    period_s: float
    phase: float

    def at(self, time_s: float) -> float:
        return 1.0 + self.amplitude * math.sin(2.0 * math.pi * time_s / self.period_s + self.phase)


@dataclass(slots=True)
class _Cache:
    """Fills by calls of its route until its keys are all there."""

    capacity_bytes: float
    bytes_per_miss: float
    filled_bytes: float = 0.0

    def serve(self, calls: int) -> None:
        left = self.capacity_bytes - self.filled_bytes
        self.filled_bytes += left * -math.expm1(-calls * self.bytes_per_miss / self.capacity_bytes)


@dataclass(slots=True)
class _Route:
    name: str
    calls_per_s: float
    noise: _Wander
    cycle: _Cycle
    garbage_bytes_per_call: float
    cache: _Cache | None = None
    leak_bytes_per_call: float = 0.0
    calls: int = 0

    def serve(self, time_s: float, seconds: float, busy: float, rng: Random) -> int:
        mean = self.calls_per_s * seconds * busy * self.noise.step(seconds) * self.cycle.at(time_s)
        calls = poisson(mean, rng)
        self.calls += calls
        if self.cache:
            self.cache.serve(calls)
        return calls


@dataclass(slots=True)
class Service:
    """One process under traffic.

    Attributes:
        culprit: Who leaks.
        guilty: The leaking route; empty when none does.
        leak_bytes_per_call: What each of its calls retains.
        background_bytes_per_hour: What a thread retains, whatever the traffic.
    """

    rng: Random
    culprit: Culprit
    interval_s: float
    routes: list[_Route]
    busy_noise: _Wander
    day: _Cycle
    guilty: str = ""
    leak_bytes_per_call: float = 0.0
    background_bytes_per_hour: float = 0.0
    collect_at_bytes: float = 10.0 * MB
    returned_at_once: float = 1.0
    starting_bytes: float = 0.0
    starting_s: float = 0.0
    _time_s: float = 0.0
    _leaked: float = 0.0
    _garbage: float = 0.0
    _held: float = 0.0
    _base: float = field(default=120.0 * MB)

    def observations(self, duration_s: float) -> Iterator[Observation]:
        while self._time_s < duration_s:
            yield self._step()

    def _step(self) -> Observation:
        busy = self.day.at(self._time_s) * self.busy_noise.step(self.interval_s)
        fresh = 0.0
        for route in self.routes:
            calls = route.serve(self._time_s, self.interval_s, busy, self.rng)
            self._leaked += calls * route.leak_bytes_per_call
            fresh += calls * route.garbage_bytes_per_call
        # A thread is no clockwork either.
        jitter = self.rng.uniform(0.7, 1.3)
        self._leaked += self.background_bytes_per_hour * self.interval_s / 3600.0 * jitter
        if self._time_s < self.starting_s:
            # Modules, pools and templates, each when it is first needed.
            self._base += self.rng.uniform(0.0, 2.0) * self.starting_bytes * self.interval_s / self.starting_s
        self._time_s += self.interval_s
        return Observation(self._time_s, self._resident(fresh), {r.name: r.calls for r in self.routes})

    def _resident(self, fresh_garbage: float) -> float:
        # A collection comes when enough has piled up, wherever in the interval that is.
        self._garbage = (self._garbage + fresh_garbage) % self.collect_at_bytes
        caches = sum(route.cache.filled_bytes for route in self.routes if route.cache)
        in_flight = abs(self.rng.gauss(0.0, 0.2 * MB))
        live = self._leaked + caches + self._garbage + in_flight
        self._held = max(live, self._held - self.returned_at_once * (self._held - live))
        return math.ceil((self._base + self._held) / _PAGE) * _PAGE


def make_service(seed: int, culprit: Culprit, interval_s: float = 60.0) -> Service:
    """A service drawn from the seed: 10 routes, 50 to 500 requests/s, 200 B to 20 KB leaked per call.

    Args:
        seed: Of everything random in it.
        culprit: ``route``, ``background`` (a thread leaks as much as a route would) or ``nothing``.
        interval_s: Seconds between samples.
    """
    rng = Random(f"{culprit} {seed}")
    routes = _draw_routes(rng)
    guilty = rng.choice(routes)
    leak = 200.0 * 100.0 ** rng.random()
    service = Service(
        rng,
        culprit,
        interval_s,
        routes,
        busy_noise=_Wander(rng, 0.15, 600.0),
        day=_Cycle(rng.uniform(0.2, 0.6), rng.uniform(2.0, 12.0) * 3600.0, rng.uniform(0.0, 6.28)),
        collect_at_bytes=rng.uniform(0.5, 8.0) * MB,
        returned_at_once=rng.choice((1.0, 1.0, 0.3)),
        starting_bytes=rng.uniform(10.0, 80.0) * MB,
        starting_s=rng.uniform(1.0, 20.0) * 60.0,
    )
    for route in rng.sample([r for r in routes if r is not guilty], 3):
        route.cache = _Cache(rng.uniform(1.0, 20.0) * MB, rng.uniform(200.0, 4000.0))
    if culprit == "route":
        guilty.leak_bytes_per_call = leak
        service.guilty, service.leak_bytes_per_call = guilty.name, leak
    elif culprit == "background":
        service.background_bytes_per_hour = leak * guilty.calls_per_s * 3600.0
    return service


def _draw_routes(rng: Random) -> list[_Route]:
    exponent = rng.uniform(0.6, 1.2)
    weights = [1.0 / rank**exponent for rank in range(1, ROUTES + 1)]
    rng.shuffle(weights)
    total = 50.0 * 10.0 ** rng.random()
    return [
        _Route(
            name=f"GET /r{index}",
            calls_per_s=total * weight / sum(weights),
            noise=_Wander(rng, rng.uniform(0.2, 0.5), rng.uniform(120.0, 1200.0)),
            cycle=_Cycle(rng.uniform(0.0, 0.4), rng.uniform(1.0, 6.0) * 3600.0, rng.uniform(0.0, 6.28)),
            garbage_bytes_per_call=rng.uniform(0.0, 1500.0),
        )
        for index, weight in enumerate(weights)
    ]


def poisson(mean: float, rng: Random) -> int:
    """A Poisson variate; Gaussian above 50, where the two cannot be told apart."""
    if mean > 50.0:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
