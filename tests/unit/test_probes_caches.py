"""Bounded caches: found by their holders, asked without running the application's code."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from otel_memleak.probes import CacheProbe

Cached = Callable[[int], int]


def cache(maxsize: int | None) -> Any:
    return functools.lru_cache(maxsize=maxsize)(lambda number: number)


@pytest.fixture
def module() -> Iterator[ModuleType]:
    made = ModuleType("a_module_with_caches")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def found() -> CacheProbe:
    probe = CacheProbe()
    probe.find()
    return probe


def test_entries_are_counted_and_room_is_that_of_caches_that_fill(module: ModuleType) -> None:
    """A cache that stands still at half its size says nothing about growth."""
    module.filling, module.idle = cache(1000), cache(5000)  # type: ignore[attr-defined]
    module.idle(1)  # type: ignore[attr-defined]
    probe = found()
    before = probe.read()

    for number in range(300):
        module.filling(number)  # type: ignore[attr-defined]
    after = probe.read()

    assert after.entries - before.entries >= 300
    assert after.room - before.room >= 700
    assert after.room < 5000


def test_a_method_s_cache_is_found_in_its_class(module: ModuleType) -> None:
    """That is where most of them are."""
    module.Shop = type("Shop", (), {"price": cache(500), "__module__": module.__name__})  # type: ignore[attr-defined]
    probe = found()
    before = probe.read().entries
    for number in range(40):
        module.Shop.price(number)  # type: ignore[attr-defined]

    assert probe.read().entries - before >= 40


def test_a_cache_that_has_stopped_filling_has_no_room(module: ModuleType) -> None:
    """Growth that goes on when it does not is somebody else's."""
    module.filling = cache(1000)  # type: ignore[attr-defined]
    probe = found()
    module.filling(1)  # type: ignore[attr-defined]
    assert probe.read().room >= 999
    for _ in range(10):
        after = probe.read()

    assert after.room < 999


def test_unbounded_and_tiny_caches_are_no_excuse(module: ModuleType) -> None:
    """One never ends, the other explains nothing."""
    module.endless, module.tiny = cache(None), cache(8)  # type: ignore[attr-defined]
    probe = found()
    known = {id(kept.reference()) for kept in probe._caches.values()}

    assert {id(module.endless), id(module.tiny)}.isdisjoint(known)  # type: ignore[attr-defined]


def test_a_cache_is_not_kept_alive(module: ModuleType) -> None:
    """What watches for leaks must not be one."""
    module.gone = cache(1000)  # type: ignore[attr-defined]
    probe = found()
    count = len(probe._caches)
    del module.gone
    gc.collect()
    probe.read()

    assert len(probe._caches) == count - 1


def test_nothing_of_the_application_runs(module: ModuleType) -> None:
    """Looking at names must not import lazy modules or evaluate properties."""

    class Trap(ModuleType):
        def __getattribute__(self, name: str) -> object:
            raise AssertionError(name)

    class Meta(type):
        def __getattribute__(cls, name: str) -> object:
            raise AssertionError(name)

    trap = Trap("a_trap")
    module.held = Meta("Held", (), {})  # type: ignore[attr-defined]
    sys.modules["a_trap"] = trap
    try:
        found().read()
    finally:
        del sys.modules["a_trap"]
